#include "http/fields.h"

#include <cstring>

#include "base/ascii.h"

namespace merlon::http {

bool Fields::has_room() noexcept {
  if (many_ != nullptr) return count_ < kCapacity;
  static_assert(alignof(Field) <= alignof(std::max_align_t));
  many_ = std::make_unique_for_overwrite<std::byte[]>(kCapacity * sizeof(Field));
  std::memcpy(many_.get(), few_.data(), count_ * sizeof(Field));
  return true;
}

const Field* Fields::find(FieldId id) const noexcept {
  if (!seen_.test(static_cast<std::size_t>(id))) return nullptr;
  for (const Field& field : *this) {
    if (field.id == id) return &field;
  }
  return nullptr;
}

const Field* Fields::find(std::string_view name) const noexcept {
  for (const Field& field : *this) {
    if (ascii::iequals(field.name, name)) return &field;
  }
  return nullptr;
}

std::size_t Fields::count(FieldId id) const noexcept {
  if (!seen_.test(static_cast<std::size_t>(id))) return 0;
  std::size_t found = 0;
  for (const Field& field : *this) found += field.id == id ? 1U : 0U;
  return found;
}

std::size_t Fields::count(std::string_view name) const noexcept {
  std::size_t found = 0;
  for (const Field& field : *this) found += ascii::iequals(field.name, name) ? 1U : 0U;
  return found;
}

template <class Predicate>
std::size_t Fields::drop_if(Predicate&& predicate) noexcept {
  std::size_t dropped = 0;
  for (std::size_t i = 0; i < count_; ++i) {
    if (items()[i].dropped || !predicate(items()[i])) continue;
    items()[i].dropped = true;
    ++dropped;
  }
  return dropped;
}

std::size_t Fields::drop(FieldId id) noexcept {
  if (!seen_.test(static_cast<std::size_t>(id))) return 0;
  return drop_if([id](const Field& field) { return field.id == id; });
}

std::size_t Fields::drop(std::string_view name) noexcept {
  return drop_if([name](const Field& field) { return ascii::iequals(field.name, name); });
}

std::size_t Fields::drop(FieldTrait trait) noexcept {
  return drop_if([trait](const Field& field) { return has_trait(field.id, trait); });
}

}  // namespace merlon::http
