#include "upstream/public_address.h"

#include <array>
#include <vector>

namespace merlon::upstream {
namespace {

/// All that is not for everybody. IPv6 outside 2000::/3 is not given out at all.
const std::vector<Cidr>& special_blocks() {
  static const std::vector<Cidr> blocks = [] {
    std::vector<Cidr> out;
    for (const char* text :
         {"0.0.0.0/8",     "10.0.0.0/8",      "100.64.0.0/10",  "127.0.0.0/8",    "169.254.0.0/16",
          "172.16.0.0/12", "192.0.0.0/24",    "192.0.2.0/24",   "192.88.99.0/24", "192.168.0.0/16",
          "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",    "240.0.0.0/4",
          "2001::/23",     "2001:db8::/32",   "2002::/16",      "3fff::/20",      "5f00::/16"}) {
      if (const auto block = Cidr::parse(text)) out.push_back(*block);
    }
    return out;
  }();
  return blocks;
}

}  // namespace

bool is_public(const IpAddress& address) noexcept {
  if (address.is_v6() && (address.bytes()[0] & 0xe0U) != 0x20U) return false;
  return !contains_any(special_blocks(), address);
}

}  // namespace merlon::upstream
