#pragma once

#include <cstddef>

namespace merlon::io {

/// Memory of coroutine frames: free lists by size, one set per thread, so that a request costs no
/// call of malloc. A frame is allocated and freed on the same thread. Under a sanitizer every frame
/// is a fresh allocation, so that a use after its end is seen.
class FramePool {
 public:
  static void* allocate(std::size_t bytes);
  static void release(void* frame, std::size_t bytes) noexcept;
  /// The largest frame this thread has asked for, in bytes. For the test that keeps frames small.
  [[nodiscard]] static std::size_t largest_frame() noexcept;
};

}  // namespace merlon::io
