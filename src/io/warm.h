#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

/// Bringing memory near before it is needed. A request that has waited for its upstream is, with
/// hundreds of others at a time, out of the processor's caches; taken one by one each of its lines
/// is waited for, taken together they come beside each other. Hints only: nothing depends on them.
namespace merlon::io {

/// The cache lines of `bytes` from `at`, which may be any address or null.
inline void warm(const void* at, std::size_t bytes = 256) noexcept {
  if (at == nullptr) return;
  constexpr std::uintptr_t kLine = 64;
  const std::uintptr_t into_line = reinterpret_cast<std::uintptr_t>(at) & (kLine - 1);
  const char* const line = static_cast<const char*>(at) - into_line;
  for (std::uintptr_t n = 0; n < into_line + bytes; n += kLine) __builtin_prefetch(line + n);
}

/// Coroutines that are about to be resumed, and those that wait for them. `frames` are addresses of
/// suspended coroutines with a promise of io/task.h, or null; the array is used up.
void warm_coroutines(std::span<void*> frames) noexcept;

}  // namespace merlon::io
