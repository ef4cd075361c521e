#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace merlon::upstream {

/// An https URL, taken apart: whom to ask, and for what.
struct HttpsUrl {
  std::string host;  ///< canonical (http/host.h); an IPv6 address without brackets
  std::uint16_t port = 443;
  std::string path;   ///< begins with '/'
  std::string query;  ///< without '?'
  bool has_query = false;

  /// "id.example.com:8443" or "[2001:db8::1]", as Host has it: without the port of https.
  [[nodiscard]] std::string authority() const;
  bool operator==(const HttpsUrl&) const = default;
};

/// Reads an absolute https URL of at most 1024 bytes without user and fragment (RFC 3986 §3,
/// RFC 9110 §4.2.2). The error says what is wrong, without bytes of the text.
[[nodiscard]] std::expected<HttpsUrl, std::string> parse_https_url(std::string_view text);

}  // namespace merlon::upstream
