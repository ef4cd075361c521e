#pragma once

#include <cstddef>
#include <string>

namespace merlon::io {

/// Memory of coroutine frames: free lists by size, one set per thread, so that a request costs no
/// call of malloc. A frame is allocated and freed on the same thread. Under a sanitizer every frame
/// is a fresh allocation, so that a use after its end is seen.
class FramePool {
 public:
  static void* allocate(std::size_t bytes);
  static void release(void* frame, std::size_t bytes) noexcept;
  /// The same for other memory that comes and goes with a request: objects, buffers. Such a block
  /// is given back with release().
  static void* allocate_block(std::size_t bytes);
  /// Gives back what nobody took since the last call, a bounded number at a time; true when there
  /// may be more. A loop calls it; without it blocks are kept as long as the thread lives.
  static bool sweep() noexcept;
  /// The largest frame this thread has asked for, in bytes. For the test that keeps frames small.
  [[nodiscard]] static std::size_t largest_frame() noexcept;
};

/// A class that inherits this takes its objects from the pool.
class Pooled {
 public:
  static void* operator new(std::size_t bytes) { return FramePool::allocate_block(bytes); }
  static void operator delete(void* object, std::size_t bytes) noexcept {
    FramePool::release(object, bytes);
  }

 protected:
  ~Pooled() = default;
};

/// The same for what a container holds.
template <class T>
struct PoolAllocator {
  using value_type = T;
  PoolAllocator() = default;
  template <class U>
  PoolAllocator(const PoolAllocator<U>&) noexcept {}  // NOLINT(google-explicit-constructor)
  [[nodiscard]] T* allocate(std::size_t count) {
    return static_cast<T*>(FramePool::allocate_block(count * sizeof(T)));
  }
  void deallocate(T* at, std::size_t count) noexcept { FramePool::release(at, count * sizeof(T)); }
  template <class U>
  bool operator==(const PoolAllocator<U>&) const noexcept {
    return true;
  }
};
using PooledBytes = std::basic_string<char, std::char_traits<char>, PoolAllocator<char>>;

}  // namespace merlon::io
