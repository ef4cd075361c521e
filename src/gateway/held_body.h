#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>

namespace merlon::gateway {

/// Bodies that are held may take this share of the memory that requests in progress may.
inline constexpr std::uint64_t kHeldShare = 4;

/// Memory that held bodies take together, in all workers.
class HeldBytes {
 public:
  /// False, and nothing is taken, when there would be more than `most`.
  [[nodiscard]] bool take(std::uint64_t bytes, std::uint64_t most) noexcept {
    const std::uint64_t before = bytes_.fetch_add(bytes, std::memory_order_relaxed);
    if (before <= most && bytes <= most - before) return true;
    give(bytes);
    return false;
  }
  void give(std::uint64_t bytes) noexcept { bytes_.fetch_sub(bytes, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t now() const noexcept {
    return bytes_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<std::uint64_t> bytes_{0};
};

/// The body of a request that is held until it is judged. Grows as bytes arrive, not by what a head
/// promises, so that who promises much and sends nothing holds nothing.
class HeldBody {
 public:
  HeldBody() = default;
  HeldBody(const HeldBody&) = delete;
  HeldBody& operator=(const HeldBody&) = delete;
  ~HeldBody() { release(); }

  /// Appends a copy. False when the process has no room: `most` is for all bodies together.
  [[nodiscard]] bool append(std::string_view part, HeldBytes& shared, std::uint64_t most) noexcept;
  [[nodiscard]] std::string_view view() const noexcept { return {data_.get(), size_}; }
  void release() noexcept;
  void swap(HeldBody& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
    std::swap(shared_, other.shared_);
  }

 private:
  struct Free {
    void operator()(char* memory) const noexcept { std::free(memory); }
  };
  [[nodiscard]] bool grow(std::size_t wanted, HeldBytes& shared, std::uint64_t most) noexcept;

  std::unique_ptr<char, Free> data_;  ///< of `capacity_` bytes; grows in place where it is large
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
  HeldBytes* shared_ = nullptr;  ///< whom `capacity_` was taken from
};

}  // namespace merlon::gateway
