#include "io/buffer_pool.h"

#include <new>

namespace merlon::io {
namespace {
constexpr std::align_val_t kAlignment{64};  // blocks of two connections never share a cache line
}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this != &other) {
    reset();
    pool_ = std::exchange(other.pool_, nullptr);
    data_ = std::exchange(other.data_, nullptr);
  }
  return *this;
}

void Buffer::reset() noexcept {
  if (data_ == nullptr) return;
  pool_->give_back(data_);
  pool_ = nullptr;
  data_ = nullptr;
}

BufferPool::~BufferPool() {
  for (char* block : kept_) ::operator delete(block, kAlignment);
}

Buffer BufferPool::take() {
  if (out_ >= blocks_max_) return {};
  char* block = nullptr;
  if (kept_.empty()) {
    block = static_cast<char*>(::operator new(block_bytes_, kAlignment, std::nothrow));
    if (block == nullptr) return {};
  } else {
    block = kept_.back();
    kept_.pop_back();
  }
  ++out_;
  return {*this, block};
}

void BufferPool::give_back(char* block) noexcept {
  --out_;
  if (kept_.size() >= kept_max_) {
    ::operator delete(block, kAlignment);
    return;
  }
  kept_.push_back(block);
}

}  // namespace merlon::io
