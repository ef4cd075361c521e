#include "gateway/held_body.h"

#include <algorithm>
#include <cstring>

namespace merlon::gateway {

constexpr std::size_t kFirstBytes = 16UL * 1024;

bool HeldBody::append(std::string_view part, HeldBytes& shared, std::uint64_t most) noexcept {
  // Doubled, so that a body in small parts is copied twice at most; where there is no room for
  // that, by what it needs.
  const std::size_t needed = size_ + part.size();
  if (needed > capacity_ && !grow(std::max({needed, capacity_ * 2, kFirstBytes}), shared, most) &&
      !grow(needed, shared, most))
    return false;
  if (!part.empty()) std::memcpy(data_.get() + size_, part.data(), part.size());
  size_ += part.size();
  return true;
}

bool HeldBody::grow(std::size_t wanted, HeldBytes& shared, std::uint64_t most) noexcept {
  const std::size_t more = wanted - capacity_;
  if (!shared.take(more, most)) return false;
  auto* const larger = static_cast<char*>(std::realloc(data_.get(), wanted));
  if (larger == nullptr) {
    shared.give(more);
    return false;
  }
  static_cast<void>(data_.release());
  data_.reset(larger);
  capacity_ = wanted;
  shared_ = &shared;
  return true;
}

void HeldBody::release() noexcept {
  if (shared_ != nullptr) shared_->give(capacity_);
  shared_ = nullptr;
  data_.reset();
  size_ = capacity_ = 0;
}

}  // namespace merlon::gateway
