#include "http/h2_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#include "io/frame_pool.h"

namespace merlon::http {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kSlotBytes = 5 * kPageBytes;  // a frame of 16 KiB with its header and padding
constexpr std::size_t kSlotsPerRegion = 64;
// Where a slot's memory begins. The pool's is aligned to 16 bytes, so this tells the two apart.
constexpr std::size_t kOffset = 8;
static_assert(alignof(std::max_align_t) == 16);
// Slots that are free and keep their first page: connections come and go.
constexpr std::size_t kWarmSlots = 64;

/// A slot that is free, written into its first bytes.
struct FreeSlot {
  FreeSlot* next;
};

/// Of one thread. Regions are never unmapped: they hold as many slots as there once were
/// connections at a time, and free ones beyond a few are not backed but for a page.
struct Slots {
  FreeSlot* first = nullptr;
  std::size_t count = 0;

  void* take() noexcept {
    if (first == nullptr && !map_region()) return nullptr;
    FreeSlot* const slot = first;
    first = slot->next;
    --count;
    return reinterpret_cast<char*>(slot) + kOffset;
  }

  void give_back(void* memory) noexcept {
    char* const slot = static_cast<char*>(memory) - kOffset;
    // Fails only for memory that is locked, which is then merely kept.
    if (count >= kWarmSlots) static_cast<void>(::madvise(slot, kSlotBytes, MADV_DONTNEED));
    push(slot);
  }

 private:
  void push(char* slot) noexcept {
    first = ::new (slot) FreeSlot{.next = first};
    ++count;
  }

  bool map_region() noexcept {
    constexpr std::size_t kRegionBytes = kSlotBytes * kSlotsPerRegion;
    void* const region = ::mmap(nullptr, kRegionBytes, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED) return false;
    // A huge page would back all of it at the first touch. Kernels without them say EINVAL.
    static_cast<void>(::madvise(region, kRegionBytes, MADV_NOHUGEPAGE));
    for (std::size_t i = kSlotsPerRegion; i-- > 0;)
      push(static_cast<char*>(region) + i * kSlotBytes);
    return true;
  }
};

Slots& slots() noexcept {
  thread_local Slots of_thread;
  return of_thread;
}

bool is_slot(const void* memory) noexcept {
  return reinterpret_cast<std::uintptr_t>(memory) % alignof(std::max_align_t) == kOffset;
}

bool fits_slot(std::size_t bytes) noexcept {
  return bytes > 4 * kPageBytes && bytes <= kSlotBytes - kOffset;
}

// Whatever is no slot comes from the thread's pool, with its size in front: nghttp2 takes and gives
// back some ten pieces for each stream.
constexpr std::size_t kAheadBytes = alignof(std::max_align_t);

void* take_piece(std::size_t bytes) noexcept {
  if (bytes > PTRDIFF_MAX) return nullptr;
  auto* const block = static_cast<std::byte*>(io::FramePool::allocate_block(bytes + kAheadBytes));
  std::memcpy(block, &bytes, sizeof bytes);
  return block + kAheadBytes;
}

std::size_t size_of(const void* piece) noexcept {
  std::size_t bytes = 0;
  std::memcpy(&bytes, static_cast<const std::byte*>(piece) - kAheadBytes, sizeof bytes);
  return bytes;
}

void give_back_piece(void* piece) noexcept {
  const std::size_t bytes = size_of(piece);
  io::FramePool::release(static_cast<std::byte*>(piece) - kAheadBytes, bytes + kAheadBytes);
}

}  // namespace

/// What nghttp2 calls.
struct H2MemoryCalls {
  static void* allocate(std::size_t bytes, void* user) {
    if (!fits_slot(bytes)) return take_piece(bytes);
    return static_cast<H2Memory*>(user)->frame_buffer_ = slots().take();
  }

  static void release(void* memory, void* user) {
    if (memory == nullptr) return;
    if (!is_slot(memory)) return give_back_piece(memory);
    auto& of = *static_cast<H2Memory*>(user);
    if (of.frame_buffer_ == memory) of.frame_buffer_ = nullptr;
    slots().give_back(memory);
  }

  static void* allocate_zeroed(std::size_t count, std::size_t bytes, void*) {
    std::size_t all = 0;
    if (__builtin_mul_overflow(count, bytes, &all)) return nullptr;
    void* const piece = take_piece(all);
    return piece == nullptr ? nullptr : std::memset(piece, 0, all);
  }

  static void* reallocate(void* memory, std::size_t bytes, void* user) {
    if (memory == nullptr) return allocate(bytes, user);  // how frame buffers are asked for
    const std::size_t held = is_slot(memory) ? kSlotBytes - kOffset : size_of(memory);
    void* const moved = allocate(bytes, user);
    if (moved == nullptr) return nullptr;
    std::memcpy(moved, memory, std::min(bytes, held));
    release(memory, user);
    return moved;
  }
};

nghttp2_mem H2Memory::interface() noexcept {
  return {.mem_user_data = this,
          .malloc = &H2MemoryCalls::allocate,
          .free = &H2MemoryCalls::release,
          .calloc = &H2MemoryCalls::allocate_zeroed,
          .realloc = &H2MemoryCalls::reallocate};
}

void H2Memory::release_idle() noexcept {
  if (frame_buffer_ == nullptr) return;
  // Fails only for memory that is locked, which is then merely kept.
  static_cast<void>(
      ::madvise(static_cast<char*>(frame_buffer_) - kOffset, kSlotBytes, MADV_DONTNEED));
}

}  // namespace merlon::http
