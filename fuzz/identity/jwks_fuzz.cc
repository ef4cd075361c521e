// Key sets: every key that is taken has a name, a size and a thumbprint, and is known again.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "identity/key_set.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace identity = merlon::identity;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto set = identity::read_jwks(text);
  if (!set.has_value()) return 0;
  require(!set->keys->keys().empty() && set->keys->keys().size() <= identity::kKeysMax);
  for (const auto& key : set->keys->keys()) {
    require(!key->algorithms().empty() && key->signature_bytes() >= 64);
    require(key->thumbprint().size() == 43 && set->keys->contains(key->id()));
  }
  const auto again = identity::read_jwks(text);
  require(again.has_value() && again->keys->same_keys(*set->keys));
  return 0;
}
