#include "io/frame_pool.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <new>
#include <utility>

namespace merlon::io {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kPooled = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool kPooled = false;
#else
constexpr bool kPooled = true;
#endif
#else
constexpr bool kPooled = true;
#endif

constexpr std::size_t kStep = 64;              // a cache line: classes are not worth less
constexpr std::size_t kPooledMax = 12 * 1024;  // frames stay under 1 KiB; streams of HTTP/2 take 4
constexpr std::size_t kKeptAlways = 64;        // of each class, whoever comes next
constexpr std::size_t kFreedAtOnce = 1024;     // of each class, so that a sweep is short

struct FreeFrame {
  FreeFrame* next;
};

struct SizeClass {
  FreeFrame* head = nullptr;
  std::size_t kept = 0;
  std::size_t unused = 0;  ///< of those kept, how many nobody took since the last sweep
};

struct ThreadPool {
  std::array<SizeClass, kPooledMax / kStep> classes;
  std::size_t largest = 0;
};
// Without a destructor, so that nothing is asked before it is used; Janitor is what ends it.
constinit thread_local ThreadPool pool;

/// Frees what is kept when its thread ends. Whoever fills the pool hires one.
struct Janitor {
  Janitor() noexcept = default;
  Janitor(const Janitor&) = delete;
  Janitor& operator=(const Janitor&) = delete;
  ~Janitor() {
    for (SizeClass& c : pool.classes) {
      while (c.head != nullptr) ::operator delete(std::exchange(c.head, c.head->next));
    }
  }
};

[[gnu::noinline]] void* allocate_anew(std::size_t bytes) {
  static thread_local const Janitor janitor;
  return ::operator new(bytes);
}

constexpr bool is_pooled(std::size_t bytes) noexcept { return kPooled && bytes - 1 < kPooledMax; }

}  // namespace

void* FramePool::allocate(std::size_t bytes) {
  pool.largest = std::max(pool.largest, bytes);
  return allocate_block(bytes);
}

void* FramePool::allocate_block(std::size_t bytes) {
  if (!is_pooled(bytes)) return ::operator new(bytes);
  const std::size_t index = (bytes - 1) / kStep;
  SizeClass& c = pool.classes[index];
  FreeFrame* const frame = c.head;
  if (frame == nullptr) return allocate_anew((index + 1) * kStep);
  c.head = frame->next;
  // Requests come in bursts: the next one's block need not be waited for.
  __builtin_prefetch(c.head, 1);
  c.unused = std::min(c.unused, --c.kept);
  return frame;
}

void FramePool::release(void* frame, std::size_t bytes) noexcept {
  if (!is_pooled(bytes)) {
    ::operator delete(frame);
    return;
  }
  SizeClass& c = pool.classes[(bytes - 1) / kStep];
  c.head = ::new (frame) FreeFrame{c.head};
  ++c.kept;
}

bool FramePool::sweep() noexcept {
  bool more = false;
  for (SizeClass& c : pool.classes) {
    const std::size_t surplus = c.kept - std::min(c.kept, kKeptAlways);
    for (std::size_t n = std::min({c.unused, surplus, kFreedAtOnce}); n > 0; --n) {
      ::operator delete(std::exchange(c.head, c.head->next));
      --c.kept;
    }
    c.unused = c.kept;
    more = more || c.kept > kKeptAlways;
  }
  return more;
}

std::size_t FramePool::largest_frame() noexcept { return pool.largest; }

}  // namespace merlon::io
