#pragma once

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/time.h"

namespace merlon::policy {

/// `;r=12;t=3` behind a name, and numbers of other fields, without allocating. What does not fit is
/// left out: names of limits are short.
template <std::size_t kBytes = 128>
class FieldText {
 public:
  FieldText& add(std::string_view text) noexcept {
    size_ += text.copy(text_ + size_, sizeof text_ - size_);
    return *this;
  }
  FieldText& add(std::uint64_t number) noexcept {
    const auto end = std::to_chars(text_ + size_, text_ + sizeof text_, number);
    if (end.ec == std::errc{}) size_ = static_cast<std::size_t>(end.ptr - text_);
    return *this;
  }
  [[nodiscard]] std::string_view view() const noexcept { return {text_, size_}; }

 private:
  char text_[kBytes];
  std::size_t size_ = 0;
};

/// Whole seconds, rounded up: a client that comes back then is not refused again.
[[nodiscard]] inline std::int64_t ceil_seconds(nanoseconds span) noexcept {
  return std::chrono::ceil<seconds>(std::max(span, nanoseconds{0})).count();
}

}  // namespace merlon::policy
