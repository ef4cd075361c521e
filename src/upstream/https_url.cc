#include "upstream/https_url.h"

#include <fmt/format.h>

#include <array>

#include "base/ascii.h"
#include "base/ip.h"
#include "http/host.h"
#include "http/path.h"

namespace merlon::upstream {
namespace {

constexpr std::size_t kUrlBytesMax = 1024;
constexpr std::string_view kScheme = "https://";

using Bad = std::unexpected<std::string>;

bool has_strange_bytes(std::string_view text) {
  for (const char c : text) {
    if (c <= 0x20 || c > 0x7e || c == '\\') return true;
  }
  return false;
}

}  // namespace

std::string HttpsUrl::authority() const {
  const auto address = IpAddress::parse(host);
  const std::string name = address && address->is_v6() ? "[" + host + "]" : host;
  return port == 443 ? name : fmt::format("{}:{}", name, port);
}

std::expected<HttpsUrl, std::string> parse_https_url(std::string_view text) {
  if (text.size() > kUrlBytesMax) return Bad("a URL has at most 1024 bytes");
  if (text.size() < kScheme.size() || !ascii::iequals(text.substr(0, kScheme.size()), kScheme)) {
    return Bad("it must begin with https://");
  }
  if (has_strange_bytes(text)) return Bad("a URL is printable ASCII without spaces");
  if (text.contains('#')) return Bad("it has a fragment");
  const std::string_view rest = text.substr(kScheme.size());
  const std::string_view authority = rest.substr(0, rest.find_first_of("/?"));
  if (authority.contains('@')) return Bad("it has a user");
  std::array<char, http::kHostBytesMax> scratch{};
  const Result<http::CanonicalHost> host = http::canonical_host(authority, scratch);
  if (!host) return Bad("its host cannot be read");
  const std::string_view target = rest.substr(authority.size());
  const std::size_t mark = target.find('?');
  HttpsUrl url{.host = std::string(host->name),
               .port = host->port == 0 ? std::uint16_t{443} : host->port,
               .path = std::string(target.substr(0, mark)),
               .query = {},
               .has_query = mark != std::string_view::npos};
  if (url.path.empty()) url.path = "/";
  if (url.has_query) url.query = target.substr(mark + 1);
  std::string room(url.path.size(), '\0');
  if (!http::canonical_path(url.path, room) || !http::check_query(url.query)) {
    return Bad("its path or query cannot be read");
  }
  return url;
}

}  // namespace merlon::upstream
