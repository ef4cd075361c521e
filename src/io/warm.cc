#include "io/warm.h"

#include <coroutine>

#include "io/task.h"

namespace merlon::io {
namespace {

// A read waits in the parser's coroutine, that in the exchange's, that in the proxy's, that in the
// connection's.
constexpr int kDepth = 4;
// Most of what a frame holds; few are longer.
constexpr std::size_t kFrameBytes = 640;

void* waiting_for(void* frame) noexcept {
  return std::coroutine_handle<detail::PromiseBase>::from_address(frame)
      .promise()
      .continuation()
      .address();
}

}  // namespace

void warm_coroutines(std::span<void*> frames) noexcept {
  for (void* const frame : frames) warm(frame, kFrameBytes);
  // Level by level, so that the lines of all of them are on their way at a time.
  for (int depth = 1; depth < kDepth; ++depth) {
    for (void*& frame : frames) {
      if (frame == nullptr) continue;
      frame = waiting_for(frame);
      warm(frame, kFrameBytes);
    }
  }
}

}  // namespace merlon::io
