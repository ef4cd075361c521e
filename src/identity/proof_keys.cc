#include "identity/proof_keys.h"

#include <functional>
#include <utility>

namespace merlon::identity {
namespace {

/// The first slot of the set.
std::size_t set_of(std::string_view thumbprint, std::size_t ways) noexcept {
  return std::hash<std::string_view>{}(thumbprint) % (ProofKeys::kSlots / ways) * ways;
}

}  // namespace

std::shared_ptr<const PublicKey> ProofKeys::find(std::string_view thumbprint) const noexcept {
  if (slots_.empty()) return nullptr;
  const std::size_t set = set_of(thumbprint, kWays);
  for (std::size_t way = 0; way < kWays; ++way) {
    const auto& key = slots_[set + way];
    if (key != nullptr && key->thumbprint() == thumbprint) return key;
  }
  return nullptr;
}

void ProofKeys::keep(std::shared_ptr<const PublicKey> key) {
  if (slots_.empty()) slots_.resize(kSlots);
  const std::size_t set = set_of(key->thumbprint(), kWays);
  std::size_t way = 0;
  while (way < kWays && slots_[set + way] != nullptr) ++way;
  if (way == kWays) way = next_way_++ % kWays;
  slots_[set + way] = std::move(key);
}

}  // namespace merlon::identity
