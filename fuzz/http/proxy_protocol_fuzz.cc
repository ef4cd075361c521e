// The first bytes behind a load balancer: whole and cut, the header is read the same.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "http/proxy_protocol.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const auto require = [](bool holds) {
    if (!holds) std::abort();
  };
  const std::string_view data(reinterpret_cast<const char*>(bytes), size);
  const auto whole = merlon::http::parse_proxy_header(data);
  merlon::Result<merlon::http::ProxyHeader> cut = merlon::http::ProxyHeader{};
  for (std::size_t n = 1; n <= size && cut && cut->size_bytes == 0; ++n) {
    cut = merlon::http::parse_proxy_header(data.substr(0, n));
  }
  require(whole.has_value() == cut.has_value());
  if (!whole) return 0;
  require(whole->size_bytes == cut->size_bytes && whole->size_bytes <= size);
  require(whole->source == cut->source &&
          whole->source.has_value() == whole->destination.has_value());
  return 0;
}
