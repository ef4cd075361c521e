#pragma once

#include <arpa/inet.h>

#include <array>
#include <charconv>
#include <cstring>
#include <span>
#include <string_view>

#include "base/ip.h"

namespace merlon::http {

/// The canonical text of an address in a buffer of its own: IpAddress::to_string() without
/// allocation, for what is written on every request.
class IpText {
 public:
  explicit IpText(const IpAddress& address) noexcept {
    if (address.is_v6()) {
      // Cannot fail: the family is known and the buffer is as large as the longest form.
      inet_ntop(AF_INET6, address.bytes().data(), text_.data(),
                static_cast<socklen_t>(text_.size()));
      size_ = std::strlen(text_.data());
      return;
    }
    // inet_ntop goes through printf here, which costs more than routing the request.
    char* at = text_.data();
    for (const std::uint8_t byte : std::span(address.bytes()).first<4>()) {
      if (at != text_.data()) *at++ = '.';
      at = std::to_chars(at, text_.data() + text_.size(), byte).ptr;
    }
    size_ = static_cast<std::size_t>(at - text_.data());
  }
  [[nodiscard]] std::string_view view() const noexcept { return {text_.data(), size_}; }

 private:
  std::size_t size_ = 0;
  std::array<char, INET6_ADDRSTRLEN> text_;
};

}  // namespace merlon::http
