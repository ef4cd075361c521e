#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "identity/key_set.h"

namespace merlon::identity {

/// The keys of clients whose proofs were good of late: to make one of its JWK and to see that its
/// point is on the curve costs more than to verify with it. One per thread, with room for a fixed
/// number: a key takes the place of another, so a client that is not found costs more and is judged
/// alike.
class ProofKeys {
 public:
  /// Some 2 KiB each once it is used: at most 8 MiB.
  static constexpr std::size_t kSlots = 4096;

  /// The key with this thumbprint; null when it is not known.
  [[nodiscard]] std::shared_ptr<const PublicKey> find(std::string_view thumbprint) const noexcept;
  /// After a proof of `key` was good, so that nobody fills this with keys that are no client's.
  void keep(std::shared_ptr<const PublicKey> key);

 private:
  static constexpr std::size_t kWays = 4;
  std::vector<std::shared_ptr<const PublicKey>> slots_;  ///< sets of kWays; empty until one is kept
  std::size_t next_way_ = 0;                             ///< that gives way in a full set
};

}  // namespace merlon::identity
