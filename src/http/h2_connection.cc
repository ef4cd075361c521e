#include "http/h2_connection.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "http/exchange.h"

namespace merlon::http {
namespace {

// When nothing has come for so long, more is not likely to come soon.
constexpr seconds kQuiet{1};
constexpr std::size_t kReadBytes = 32 * 1024;
// What one connection may bring in a turn before the others have theirs.
constexpr std::size_t kBytesPerTurn = 128 * 1024;
// Blocks for as many connections that write at the same time; those of a burst go back after it.
constexpr std::size_t kBlocksKept = 16;

/// Where bytes are read to: the session takes all of them at once, so one per thread is enough.
std::span<char> read_scratch() noexcept {
  thread_local std::array<char, kReadBytes> scratch;
  return scratch;
}

std::vector<std::unique_ptr<char[]>>& spare_blocks() noexcept {
  thread_local std::vector<std::unique_ptr<char[]>> spare;
  return spare;
}

std::unique_ptr<char[]> take_block() {
  auto& spare = spare_blocks();
  if (spare.empty()) return std::make_unique_for_overwrite<char[]>(H2Connection::kBlockBytes);
  std::unique_ptr<char[]> block = std::move(spare.back());
  spare.pop_back();
  return block;
}

void give_back(std::unique_ptr<char[]> block) {
  if (spare_blocks().size() < kBlocksKept) spare_blocks().push_back(std::move(block));
}

}  // namespace

H2Connection::H2Connection(io::Stream& stream, const H2Settings& settings)
    : stream_(stream), session_(*this, settings), wake_(stream.loop()), written_(stream.loop()) {}

H2Connection::~H2Connection() {
  if (block_ != nullptr) give_back(std::move(block_));
}

void H2Connection::pump() noexcept {
  if (aborted_ || unwritable_ || !session_.has_output()) return;
  if (block_ == nullptr) block_ = take_block();
  block_end_ += session_.produce({block_.get() + block_end_, kBlockBytes - block_end_});
  if (block_end_ > block_begin_) wake_.notify_one();
}

void H2Connection::abort() noexcept {
  aborted_ = true;
  stream_.cancel();
  wake_.notify_all();
  written_.notify_all();
}

H2Connection::Input H2Connection::take_input() noexcept {
  for (std::size_t taken = 0; taken < kBytesPerTurn;) {
    const io::Attempt got = stream_.try_read(read_scratch());
    if (got.status == io::Attempt::Status::kWouldBlock) return Input::kDrained;
    if (got.status != io::Attempt::Status::kOk) {
      input_error_ = got.code;
      return Input::kEnded;
    }
    taken += got.n;
    if (!session_.receive({read_scratch().data(), got.n}, loop().now())) return Input::kEnded;
    if (!stream_.readable()) return Input::kDrained;
  }
  return Input::kMore;
}

io::Task<void> H2Connection::read_loop(std::string_view begun) {
  bool more = session_.receive(begun, loop().now()).has_value();
  on_received();
  pump();
  while (more && !aborted_ && !session_.over()) {
    if (block_end_ > kBlockBytes / 2 && !reads_whatever_is_written()) {
      static_cast<void>(co_await written_.wait(Instant::max()));
      continue;
    }
    const Instant due = deadline();
    const Instant until = quiet_ ? due : std::min(due, loop().now() + kQuiet);
    const Result<void> readable = co_await stream_.wait_readable(until);
    if (aborted_) break;
    if (readable) {
      quiet_ = false;
      const Input input = take_input();
      on_received();
      pump();
      more = input != Input::kEnded;
      if (input == Input::kMore) co_await loop().yield();
    } else if (readable.error().code == code::kTimedOut) {
      if (!std::exchange(quiet_, true)) {
        session_.release_idle_memory();
        stream_.release_idle_memory();
      }
      if (loop().now() < due) continue;
      if (unwritable_) break;
      on_deadline();
      pump();
    } else if (readable.error().code == code::kCancelled) {
      on_received();
    } else {
      break;
    }
  }
}

io::Task<void> H2Connection::write_loop() {
  while (!aborted_) {
    pump();
    const std::size_t end = block_end_;
    if (end == block_begin_) {
      if (closing_) break;
      if (block_ != nullptr) give_back(std::move(block_));
      static_cast<void>(co_await wake_.wait(Instant::max()));
      // Whatever streams have to say in this turn goes into one write, and one record of TLS.
      co_await loop().end_of_turn();
      continue;
    }
    iovec piece{block_.get() + block_begin_, end - block_begin_};
    const Instant until = pace_deadline(loop().now(), piece.iov_len);
    const Result<void> written = co_await stream_.write({&piece, 1}, until);
    const bool gone = !written && written.error().code != code::kTimedOut;
    if (gone && reads_whatever_is_written() && !closing_) {
      unwritable_ = true;
      look_again();
      break;
    }
    if (!written) abort();
    block_begin_ = end;
    if (block_begin_ == block_end_) block_begin_ = block_end_ = 0;
    written_.notify_all();
  }
}

io::Task<void> H2Connection::transfer(std::string_view begun) {
  io::Fork writer(write_loop());
  co_await read_loop(begun);
  closing_ = true;
  on_end();
  wake_.notify_all();
  co_await writer.join();
  aborted_ = true;
}

}  // namespace merlon::http
