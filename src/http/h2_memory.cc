#include "http/h2_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#include "io/frame_pool.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif
#endif
#ifndef ASAN_POISON_MEMORY_REGION
#define ASAN_POISON_MEMORY_REGION(at, bytes) static_cast<void>(at)
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) static_cast<void>(at)
#endif

namespace merlon::http {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kBits = 64;  // of a word
constexpr std::size_t kWordBytes = sizeof(std::uint64_t);
// A session of nghttp2 1.52 takes 9,120 bytes; entries of HPACK's tables have the rest.
constexpr std::size_t kWords = 3 * kPageBytes / kWordBytes;
// Not all of them begin where a page does: the caches would have room for a few sessions only.
constexpr std::size_t kColours = 16;
constexpr std::size_t kColourBytes = kPageBytes / kColours;
constexpr std::size_t kFrameBytes = 5 * kPageBytes;  // a frame of 16 KiB, header and padding
constexpr std::size_t kWholeFramesAbove = 4 * kPageBytes;
constexpr std::size_t kSlotBytes = kWords * kWordBytes + kPageBytes + kFrameBytes;
constexpr std::size_t kSlotsPerRegion = 64;
// Slots that are free and keep their first pages: connections come and go.
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
  std::size_t colour = 0;  ///< of the next

  char* take() noexcept {
    if (first == nullptr && !map_region()) return nullptr;
    FreeSlot* const slot = first;
    first = slot->next;
    --count;
    return reinterpret_cast<char*>(slot);
  }

  std::uint64_t* begin_in(char* slot) noexcept {
    return reinterpret_cast<std::uint64_t*>(slot + colour++ % kColours * kColourBytes);
  }

  void give_back(char* slot) noexcept {
    if (count >= kWarmSlots) release_pages(slot);
    push(slot);
  }

  /// Fails only for memory that is locked, which is then merely kept.
  static void release_pages(char* slot) noexcept {
    static_cast<void>(::madvise(slot, kSlotBytes, MADV_DONTNEED));
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

// A piece has its size in the word before it. nghttp2 asks for nothing that is aligned to more than
// a word.
constexpr std::size_t kAheadBytes = alignof(std::max_align_t);

void* write_size(void* block, std::size_t ahead, std::size_t bytes) noexcept {
  char* const piece = static_cast<char*>(block) + ahead;
  std::memcpy(piece - sizeof bytes, &bytes, sizeof bytes);
  return piece;
}

std::size_t size_of(const void* piece) noexcept {
  std::size_t bytes = 0;
  std::memcpy(&bytes, static_cast<const char*>(piece) - sizeof bytes, sizeof bytes);
  return bytes;
}

/// nghttp2 takes and gives back some ten pieces for each stream.
void* take_pooled(std::size_t bytes) noexcept {
  if (bytes > PTRDIFF_MAX) return nullptr;
  return write_size(io::FramePool::allocate_block(bytes + kAheadBytes), kAheadBytes, bytes);
}

void give_back_pooled(void* piece, std::size_t bytes) noexcept {
  io::FramePool::release(static_cast<char*>(piece) - kAheadBytes, bytes + kAheadBytes);
}

/// At least one.
constexpr std::size_t words_of(std::size_t bytes) noexcept {
  return bytes == 0 ? 1 : (bytes - 1) / kWordBytes + 1;
}

}  // namespace

/// Written into the first bytes of a piece of the slot.
struct H2Memory::FreePiece {
  FreePiece* next;
};

H2Memory::H2Memory() noexcept
    : slot_(slots().take()), words_(slot_ == nullptr ? nullptr : slots().begin_in(slot_)) {}

H2Memory::~H2Memory() {
  if (slot_ == nullptr) return;
  ASAN_UNPOISON_MEMORY_REGION(words_, used_ * kWordBytes);
  slots().give_back(slot_);
}

bool H2Memory::holds(const void* memory) const noexcept {
  return reinterpret_cast<std::uintptr_t>(memory) - reinterpret_cast<std::uintptr_t>(words_) <
         kWords * kWordBytes;
}

char* H2Memory::frame_buffer() const noexcept { return slot_ + kSlotBytes - kFrameBytes; }

/// A piece that was given back, of the size that `index` stands for; else nullptr.
inline void* H2Memory::take_again(std::size_t index, std::size_t bytes) noexcept {
  FreePiece* const piece = free_[index];
  if (piece == nullptr) return nullptr;
  ASAN_UNPOISON_MEMORY_REGION(piece, (index + 1) * kWordBytes);
  free_[index] = piece->next;
  return write_size(piece, 0, bytes);
}

/// nullptr when the slot has no room for it, or it is none of its pieces.
void* H2Memory::take_new(std::size_t bytes) noexcept {
  if (slot_ == nullptr) return nullptr;
  if (bytes > kWholeFramesAbove && bytes <= kFrameBytes && !frame_buffer_taken_) {
    frame_buffer_taken_ = true;
    return frame_buffer();
  }
  const std::size_t words = words_of(bytes);
  if ((words > kSmallWordsMax && made_) || words >= kWords - used_) return nullptr;
  Word* const block = words_ + used_;
  used_ += words + 1;
  return write_size(block, kWordBytes, bytes);
}

inline void H2Memory::give_back(void* piece, std::size_t bytes) noexcept {
  const std::size_t index = words_of(bytes) - 1;
  if (index >= kSmallWordsMax) return;  // of the session: seldom before all of it goes
  free_[index] = ::new (piece) FreePiece{.next = free_[index]};
  ASAN_POISON_MEMORY_REGION(piece, (index + 1) * kWordBytes);
}

/// What nghttp2 calls.
struct H2MemoryCalls {
  static void* allocate(std::size_t bytes, void* user) {
    auto& of = *static_cast<H2Memory*>(user);
    const std::size_t index = words_of(bytes) - 1;
    if (index < H2Memory::kSmallWordsMax) {
      if (void* const piece = of.take_again(index, bytes); piece != nullptr) return piece;
    } else if (of.made_ && bytes <= kWholeFramesAbove) {
      return take_pooled(bytes);
    }
    void* const piece = of.take_new(bytes);
    return piece != nullptr ? piece : take_pooled(bytes);
  }

  static void release(void* memory, void* user) {
    if (memory == nullptr) return;
    auto& of = *static_cast<H2Memory*>(user);
    if (of.holds(memory)) {
      of.give_back(memory, size_of(memory));
    } else if (is_frame_buffer(of, memory)) {
      of.frame_buffer_taken_ = false;
    } else {
      give_back_pooled(memory, size_of(memory));
    }
  }

  static void* allocate_zeroed(std::size_t count, std::size_t bytes, void* user) {
    std::size_t all = 0;
    if (__builtin_mul_overflow(count, bytes, &all)) return nullptr;
    void* const piece = allocate(all, user);
    return piece == nullptr ? nullptr : std::memset(piece, 0, all);
  }

  static void* reallocate(void* memory, std::size_t bytes, void* user) {
    if (memory == nullptr) return allocate(bytes, user);  // how frame buffers are asked for
    const bool whole_frame = is_frame_buffer(*static_cast<H2Memory*>(user), memory);
    const std::size_t held = whole_frame ? kFrameBytes : size_of(memory);
    void* const moved = allocate(bytes, user);
    if (moved == nullptr) return nullptr;
    std::memcpy(moved, memory, std::min(bytes, held));
    release(memory, user);
    return moved;
  }

 private:
  static bool is_frame_buffer(const H2Memory& of, const void* memory) noexcept {
    return of.frame_buffer_taken_ && memory == of.frame_buffer();
  }
};

nghttp2_mem H2Memory::interface() noexcept {
  return {.mem_user_data = this,
          .malloc = &H2MemoryCalls::allocate,
          .free = &H2MemoryCalls::release,
          .calloc = &H2MemoryCalls::allocate_zeroed,
          .realloc = &H2MemoryCalls::reallocate};
}

/// The copy: a bit for each word that tells whether it is there, then those words.
void H2Memory::rest() noexcept {
  if (slot_ == nullptr || kept_ != nullptr) return;
  ASAN_UNPOISON_MEMORY_REGION(words_, used_ * kWordBytes);
  const std::size_t map_words = (used_ + kBits - 1) / kBits;
  for (std::size_t words = 2; words <= kSmallWordsMax; ++words) {
    for (FreePiece* piece = free_[words - 1]; piece != nullptr; piece = piece->next)
      std::fill_n(reinterpret_cast<Word*>(piece) + 1, words - 1, 0U);
  }
  const auto zero = std::count(words_, words_ + used_, 0U);
  const std::size_t there = used_ - static_cast<std::size_t>(zero);
  kept_.reset(new (std::nothrow) Word[map_words + there]);
  if (kept_ == nullptr) return;
  std::fill_n(kept_.get(), map_words, 0U);
  Word* next = kept_.get() + map_words;
  for (std::size_t i = 0; i < used_; ++i) {
    if (words_[i] == 0) continue;
    kept_[i / kBits] |= std::uint64_t{1} << (i % kBits);
    *next++ = words_[i];
  }
  Slots::release_pages(slot_);
}

void H2Memory::restore() noexcept {
  const std::size_t map_words = (used_ + kBits - 1) / kBits;
  const Word* next = kept_.get() + map_words;
  for (std::size_t i = 0; i < map_words; ++i) {
    for (std::uint64_t left = kept_[i]; left != 0; left &= left - 1)
      words_[i * kBits + static_cast<std::size_t>(std::countr_zero(left))] = *next++;
  }
  kept_.reset();
}

}  // namespace merlon::http
