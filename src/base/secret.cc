#include "base/secret.h"

#include <cstring>

namespace merlon {

void wipe_memory(void* data, std::size_t bytes) noexcept {
  if (bytes == 0) return;
  std::memset(data, 0, bytes);
  asm volatile("" : : "r"(data) : "memory");
}

void Secret::wipe() noexcept {
  // The whole capacity: a short value that replaced a long one leaves its tail behind.
  value_.resize(value_.capacity());
  wipe_memory(value_.data(), value_.size());
  value_.clear();
}

Secret& Secret::operator=(Secret&& other) noexcept {
  if (this != &other) {
    wipe();
    value_ = std::move(other.value_);
    other.wipe();
  }
  return *this;
}

bool Secret::equals(std::string_view other) const noexcept {
  if (other.size() != value_.size()) return false;
  unsigned char difference = 0;
  for (std::size_t i = 0; i < other.size(); ++i) {
    difference = static_cast<unsigned char>(difference | (value_[i] ^ other[i]));
  }
  return difference == 0;
}

}  // namespace merlon
