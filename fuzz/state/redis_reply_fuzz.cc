// What answers at the address of Redis: read whole and in two parts it is the same, within bounds,
// and maps of clusters and redirections are taken from whatever it says.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "state/redis/reply.h"
#include "state/redis/slots.h"

namespace {

using merlon::state::redis::Reply;
using merlon::state::redis::ReplyReader;
using merlon::state::redis::Value;

void require(bool holds) {
  if (!holds) std::abort();
}

void look_at(const Reply& reply, std::string& seen) {
  require(!reply.values().empty() && reply.values().size() <= Reply::kValuesMax);
  for (const Value& value : reply.values()) {
    seen += static_cast<char>('a' + static_cast<int>(value.kind));
    seen += std::to_string(value.integer);
    seen += reply.text(value);
  }
  if (const auto map = parse_slots(reply, merlon::IpAddress::v4(0x7f000001))) {
    for (const auto& range : map->ranges)
      require(range.first <= range.last && range.node.port != 0);
    for (const auto& [name, address] : map->names) require(!name.empty());
    require(map->ranges.size() + map->unresolved.size() <= reply.values().size());
  }
  if (const auto to = merlon::state::redis::parse_redirection(reply.text()))
    require(to->slot < merlon::state::redis::kSlots && to->port != 0);
}

std::string read(std::string_view text, std::size_t cut) {
  ReplyReader reader;
  std::string seen;
  for (const std::string_view part : {text.substr(0, cut), text.substr(cut)}) {
    if (part.empty()) continue;
    if (!reader.feed(part)) return seen;
    for (;;) {
      const auto reply = reader.next();
      if (!reply) return seen;
      if (*reply == nullptr) break;
      look_at(**reply, seen);
    }
  }
  return seen;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::string whole = read(text, size);
  require(read(text, size / 2) == whole);
  return 0;
}
