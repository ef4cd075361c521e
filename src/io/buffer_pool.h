#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace merlon::io {

class BufferPool;

/// A block of memory on loan from a pool; gives itself back. Empty when the pool had none.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)), data_(std::exchange(other.data_, nullptr)) {}
  Buffer& operator=(Buffer&& other) noexcept;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { reset(); }

  [[nodiscard]] explicit operator bool() const noexcept { return data_ != nullptr; }
  [[nodiscard]] char* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept;
  [[nodiscard]] std::span<char> span() const noexcept { return {data_, size()}; }
  void reset() noexcept;

 private:
  friend class BufferPool;
  Buffer(BufferPool& pool, char* data) noexcept : pool_(&pool), data_(data) {}
  BufferPool* pool_ = nullptr;
  char* data_ = nullptr;
};

/// Blocks of one size for one worker, at most `blocks_max` out at a time. A block is not cleared.
/// Blocks given back are kept for the next taker, up to `kept_max`; the rest returns to the system.
class BufferPool {
 public:
  BufferPool(std::size_t block_bytes, std::size_t blocks_max, std::size_t kept_max)
      : block_bytes_(block_bytes), blocks_max_(blocks_max), kept_max_(kept_max) {
    kept_.reserve(kept_max);
  }
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;
  ~BufferPool();

  /// A block, or an empty Buffer when `blocks_max` are out: the caller sheds.
  [[nodiscard]] Buffer take();
  [[nodiscard]] std::size_t block_bytes() const noexcept { return block_bytes_; }
  [[nodiscard]] std::size_t out() const noexcept { return out_; }
  [[nodiscard]] std::size_t blocks_max() const noexcept { return blocks_max_; }

 private:
  friend class Buffer;
  void give_back(char* block) noexcept;

  const std::size_t block_bytes_;
  const std::size_t blocks_max_;
  const std::size_t kept_max_;
  std::size_t out_ = 0;
  std::vector<char*> kept_;
};

inline std::size_t Buffer::size() const noexcept {
  return pool_ == nullptr ? 0 : pool_->block_bytes();
}

}  // namespace merlon::io
