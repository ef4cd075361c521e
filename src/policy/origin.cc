#include "policy/origin.h"

#include <array>

#include "http/host.h"

namespace merlon::policy {

std::uint16_t default_port(std::string_view scheme) noexcept {
  return scheme == "https" ? 443 : 80;
}

bool is_own_origin(std::string_view origin, const Context& context) noexcept {
  const bool secure =
      context.connection.secure() || context.reading.client.scheme == http::Scheme::kHttps;
  const std::string_view scheme = secure ? "https" : "http";
  if (!origin.starts_with(scheme)) return false;
  origin.remove_prefix(scheme.size());
  if (!origin.starts_with("://")) return false;
  origin.remove_prefix(3);
  std::array<char, http::kHostBytesMax> scratch;
  const auto host = http::canonical_host(origin, scratch);
  const http::CanonicalHost& own = context.reading.host;
  if (!host || host->name != own.name) return false;
  const auto port = [&](const http::CanonicalHost& of) {
    return of.port != 0 ? of.port : default_port(scheme);
  };
  return port(*host) == port(own);
}

}  // namespace merlon::policy
