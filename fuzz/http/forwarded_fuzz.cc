// What proxies say about the client: lines "name: value". A peer that is not trusted changes
// nothing; what is built for the upstream is read back as the same client.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "http/client_address.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

merlon::http::Fields read_lines(std::string_view data) {
  merlon::http::Fields fields;
  while (!data.empty()) {
    const std::string_view line = data.substr(0, data.find('\n'));
    data.remove_prefix(line.size() < data.size() ? line.size() + 1 : line.size());
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    if (!fields.add(line.substr(0, colon), line.substr(colon + 1))) break;
  }
  return fields;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using merlon::IpAddress;
  static const std::vector<merlon::Cidr> kTrusted = {*merlon::Cidr::parse("10.0.0.0/8")};
  const auto fields = read_lines({reinterpret_cast<const char*>(bytes), size});
  const IpAddress stranger = IpAddress::v4(0xc0000201);
  const auto untrusted = merlon::http::resolve_client(stranger, kTrusted, fields);
  require(untrusted.has_value() && untrusted->address == stranger && untrusted->host.empty());

  const IpAddress proxy = IpAddress::v4(0x0a000001);
  const auto client = merlon::http::resolve_client(proxy, kTrusted, fields);
  if (!client) return 0;
  std::array<char, 96> custom;
  std::array<char, 96> standard;
  merlon::http::Fields built;
  built.add("X-Forwarded-For", merlon::http::write_forwarded_for(*client, proxy, custom));
  built.add("Forwarded", merlon::http::write_forwarded(*client, "", client->scheme, standard));
  const auto again = merlon::http::resolve_client(proxy, kTrusted, built);
  require(again.has_value() && again->address == client->address);
  require(again->scheme == client->scheme);
  return 0;
}
