#pragma once

#include <arpa/inet.h>

#include <array>
#include <string_view>

#include "base/ip.h"

namespace merlon::http {

/// The canonical text of an address in a buffer of its own: IpAddress::to_string() without
/// allocation, for what is written on every request.
class IpText {
 public:
  explicit IpText(const IpAddress& address) noexcept {
    // Cannot fail: the family is known and the buffer is as large as the longest form.
    inet_ntop(address.is_v6() ? AF_INET6 : AF_INET, address.bytes().data(), text_.data(),
              static_cast<socklen_t>(text_.size()));
  }
  [[nodiscard]] std::string_view view() const noexcept { return text_.data(); }

 private:
  std::array<char, INET6_ADDRSTRLEN> text_{};
};

}  // namespace merlon::http
