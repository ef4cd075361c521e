#include "policy/response_fields.h"

#include <algorithm>
#include <cstring>

namespace merlon::policy {

bool ResponseFields::add(std::string_view name, std::string_view value, http::FieldId id) noexcept {
  if (count_ == kCapacity) return false;
  lines_[count_++] = {.name = name, .value = value, .id = id, .dropped = false};
  return true;
}

bool ResponseFields::add_copy(std::string_view name, std::string_view value,
                              http::FieldId id) noexcept {
  if (count_ == kCapacity || value.size() > text_.size() - text_size_) return false;
  char* const at = text_.data() + text_size_;
  if (!value.empty()) std::memcpy(at, value.data(), value.size());
  text_size_ += value.size();
  return add(name, {at, value.size()}, id);
}

void ResponseFields::truncate(std::size_t count, http::FieldId kept) noexcept {
  std::size_t end = std::min(count, count_);
  for (std::size_t i = end; i < count_; ++i) {
    if (lines_[i].id == kept) lines_[end++] = lines_[i];
  }
  count_ = end;
}

bool ResponseFields::contains(http::FieldId id) const noexcept {
  return std::ranges::any_of(lines(), [id](const http::Field& line) { return line.id == id; });
}

}  // namespace merlon::policy
