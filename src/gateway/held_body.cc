#include "gateway/held_body.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace merlon::gateway {

constexpr std::size_t kFirstBytes = 16UL * 1024;

bool HeldBody::append(std::string_view part, HeldBytes& shared, std::uint64_t most) noexcept {
  if (part.size() > capacity_ - size_) {
    // Doubled, so that a body in small parts is copied twice at most.
    const std::size_t wanted = std::max({size_ + part.size(), capacity_ * 2, kFirstBytes});
    if (!shared.take(wanted, most)) return false;
    std::unique_ptr<char[]> larger(new (std::nothrow) char[wanted]);
    if (larger == nullptr) {
      shared.give(wanted);
      return false;
    }
    if (size_ != 0) std::memcpy(larger.get(), data_.get(), size_);
    if (shared_ != nullptr) shared_->give(capacity_);
    data_ = std::move(larger);
    capacity_ = wanted;
    shared_ = &shared;
  }
  if (!part.empty()) std::memcpy(data_.get() + size_, part.data(), part.size());
  size_ += part.size();
  return true;
}

void HeldBody::release() noexcept {
  if (shared_ != nullptr) shared_->give(capacity_);
  shared_ = nullptr;
  data_.reset();
  size_ = capacity_ = 0;
}

}  // namespace merlon::gateway
