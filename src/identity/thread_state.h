#pragma once

#include <cstddef>

#include "identity/dpop.h"
#include "identity/live_keys.h"
#include "identity/token.h"
#include "identity/token_cache.h"

namespace merlon::identity {

/// Verified tokens of the whole process take at most this, divided among the threads.
inline constexpr std::size_t kTokenCacheBytesMax = 64UL * 1024 * 1024;

/// What one thread needs to find out who asks; one per worker, used by it alone.
struct ThreadState {
  explicit ThreadState(std::size_t threads) : tokens(kTokenCacheBytesMax / threads) {}
  TokenReader reader;
  TokenCache tokens;
  KeyViews views;
  TokenReader proofs;  ///< apart: keys of clients must not push out those of issuers
  DpopNonces nonces;
};

}  // namespace merlon::identity
