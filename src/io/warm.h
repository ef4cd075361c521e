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
  constexpr std::uintptr_t kLine = 64;
  const auto from = reinterpret_cast<std::uintptr_t>(at);
  for (std::uintptr_t line = from & ~(kLine - 1); line < from + bytes; line += kLine)
    __builtin_prefetch(reinterpret_cast<const void*>(line));
}

/// Coroutines that are about to be resumed, and those that wait for them. `frames` are addresses of
/// suspended coroutines with a promise of io/task.h, or null; the array is used up.
void warm_coroutines(std::span<void*> frames) noexcept;

}  // namespace merlon::io
