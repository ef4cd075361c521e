#include "http/host.h"

#include <algorithm>
#include <cstring>

#include "base/ascii.h"
#include "http/ip_text.h"

namespace merlon::http {
namespace {

constexpr std::size_t kLabelBytesMax = 63;

/// Letters, digits, '-' and '_'. Of the sub-delims that RFC 3986 lets names have, only '=' passes:
/// the others separate lists, quote or expand in what reads a name after us.
constexpr ascii::CharSet kNameChars =
    ascii::CharSet("-_=").add_range('0', '9').add_range('a', 'z').add_range('A', 'Z');

std::unexpected<Error> bad(const char* what) noexcept {
  return fail(code::kBadHost, Blame::kClient, what);
}

/// 1 to 65535 without leading zeros; 0 when it is anything else.
std::uint16_t parse_port(std::string_view text) noexcept {
  if (text.empty() || text.size() > 5 || text.front() == '0') return 0;
  std::uint32_t port = 0;
  for (const char c : text) {
    if (!ascii::is_digit(c)) return 0;
    port = port * 10 + static_cast<std::uint32_t>(c - '0');
  }
  return port > 65535 ? std::uint16_t{0} : static_cast<std::uint16_t>(port);
}

/// A last label that some resolvers take for a number, and the whole for an IPv4 address (URL
/// Standard, "ends in a number").
bool ends_in_number(std::string_view name) noexcept {
  const std::size_t dot = name.rfind('.');
  const std::string_view last = dot == std::string_view::npos ? name : name.substr(dot + 1);
  if (std::ranges::all_of(last, ascii::is_digit)) return true;
  return last.size() >= 2 && last[0] == '0' && ascii::lower(last[1]) == 'x' &&
         std::ranges::all_of(last.substr(2), [](char c) { return ascii::hex_value(c) >= 0; });
}

bool has_good_labels(std::string_view name) noexcept {
  std::size_t label = 0;
  for (const char c : name) {
    if (c == '.') {
      if (label == 0) return false;
      label = 0;
    } else if (!kNameChars.contains(c) || ++label > kLabelBytesMax) {
      return false;
    }
  }
  return label != 0;
}

/// `text` in lower case: itself when it is already.
Result<std::string_view> lowered(std::string_view text, std::span<char> scratch) noexcept {
  const auto is_upper = [](char c) { return c >= 'A' && c <= 'Z'; };
  if (std::ranges::none_of(text, is_upper)) return text;
  if (scratch.size() < text.size()) return bad("no room for the host");
  std::ranges::transform(text, scratch.data(), ascii::lower);
  return std::string_view(scratch.data(), text.size());
}

Result<CanonicalHost> v6_literal(std::string_view text, std::span<char> scratch) noexcept {
  CanonicalHost host;
  host.address = IpAddress::parse(text);
  if (!host.address || text.find(':') == std::string_view::npos) {
    return bad("bracketed host is not an IPv6 address");
  }
  const IpText canonical(*host.address);
  const std::string_view view = canonical.view();
  if (view == text) {
    host.name = text;
    return host;
  }
  if (scratch.size() < view.size()) return bad("no room for the host");
  std::memcpy(scratch.data(), view.data(), view.size());
  host.name = {scratch.data(), view.size()};
  return host;
}

Result<CanonicalHost> reg_name(std::string_view text, std::span<char> scratch) noexcept {
  if (text.ends_with('.')) text.remove_suffix(1);
  if (text.empty() || text.size() > kHostBytesMax || !has_good_labels(text)) {
    return bad("host is not a name");
  }
  CanonicalHost host;
  if (ends_in_number(text)) {
    host.address = IpAddress::parse(text);
    if (!host.address) return bad("host ends in a number but is no IPv4 address");
  }
  const Result<std::string_view> name = lowered(text, scratch);
  if (!name) return std::unexpected(name.error());
  host.name = *name;
  return host;
}

}  // namespace

Result<CanonicalHost> canonical_host(std::string_view authority, std::span<char> scratch) noexcept {
  const bool bracketed = authority.starts_with('[');
  const std::size_t bracket = bracketed ? authority.find(']') : 0;
  if (bracket == std::string_view::npos) return bad("host has an unclosed bracket");
  const std::size_t colon = authority.find(':', bracket);
  const std::size_t end = std::min(colon, authority.size());
  if (bracketed && end != bracket + 1) return bad("bytes after a bracketed host");
  Result<CanonicalHost> host = bracketed ? v6_literal(authority.substr(1, bracket - 1), scratch)
                                         : reg_name(authority.substr(0, end), scratch);
  if (!host || colon == std::string_view::npos) return host;
  host->port = parse_port(authority.substr(colon + 1));
  if (host->port == 0) return bad("port is not 1 to 65535");
  return host;
}

}  // namespace merlon::http
