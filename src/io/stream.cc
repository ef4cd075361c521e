#include "io/stream.h"

#include <algorithm>
#include <utility>

namespace merlon::io {

namespace {

const char* text_of(std::uint16_t code) noexcept {
  switch (code) {
    case code::kTimedOut:
      return "the deadline passed";
    case code::kCancelled:
      return "cancelled";
    case code::kRefused:
      return "nobody listens there";
    case code::kReset:
      return "the peer reset the connection";
    case code::kUnreachable:
      return "there is no way to that address";
    default:
      return "input or output failed";
  }
}

}  // namespace

std::unexpected<Error> Stream::Operation::failure() const noexcept {
  return fail(code_, Blame::kInternal, text_of(code_));
}

void Stream::Operation::await_suspend(std::coroutine_handle<> waiting) noexcept {
  waiting_ = waiting;
  (side_ == Side::kRead ? stream_.reader_ : stream_.writer_) = this;
  stream_.arm(deadline_);
}

bool Stream::Read::attempt() noexcept {
  if (!stream_.readable()) return false;
  const Attempt got = stream_.try_read(into_);
  switch (got.status) {
    case Attempt::Status::kOk:
      n_ = got.n;
      return true;
    case Attempt::Status::kEnd:
      n_ = 0;
      return true;
    case Attempt::Status::kError:
      code_ = got.code;
      return true;
    case Attempt::Status::kWouldBlock:
      return false;
  }
  return false;
}

bool Stream::Write::attempt() noexcept {
  while (!pieces_.empty()) {
    if (pieces_.front().iov_len == 0) {
      pieces_ = pieces_.subspan(1);
      continue;
    }
    const Attempt got = stream_.try_write(pieces_);
    if (got.status != Attempt::Status::kOk) return settle(got);
    written_ += got.n;
    std::size_t left = got.n;
    while (left > 0) {
      iovec& piece = pieces_.front();
      const std::size_t taken = std::min(left, piece.iov_len);
      piece.iov_base = static_cast<char*>(piece.iov_base) + taken;
      piece.iov_len -= taken;
      left -= taken;
      if (piece.iov_len == 0) pieces_ = pieces_.subspan(1);
    }
  }
  return settle(stream_.unsent());
}

/// True when nothing is to be waited for.
bool Stream::Write::settle(const Attempt& outcome) noexcept {
  if (outcome.status == Attempt::Status::kWouldBlock) return false;
  if (outcome.status == Attempt::Status::kError) code_ = outcome.code;
  if (outcome.status == Attempt::Status::kEnd) code_ = code::kBrokenPipe;
  return true;
}

bool Stream::Write::extend() noexcept {
  if (!pace_) return false;
  const std::size_t still = stream_.unacknowledged_bytes();
  const std::size_t before = unacknowledged_ + written_;
  if (before < still || before - still < pace_->bytes) return false;
  unacknowledged_ = still;
  written_ = 0;
  deadline_ = stream_.loop_.now() + pace_->interval;
  return true;
}

void Stream::arm(Instant deadline) noexcept {
  if (deadline == Instant::max()) return;
  if (timer_.armed() && timer_.expires() <= deadline) return;
  loop_.timers().arm(timer_, deadline);
}

void Stream::Deadline::fire(Timer& timer) noexcept {
  static_cast<Deadline&>(timer).stream_.on_deadline();
}

void Stream::on_deadline() noexcept {
  if (reader_ == nullptr && writer_ == nullptr) {
    on_deadline_of_idle();
    return;
  }
  const Instant now = loop_.now();
  Instant next = Instant::max();
  std::coroutine_handle<> expired[2];
  std::size_t count = 0;
  for (Operation** slot : {&reader_, &writer_}) {
    if (*slot == nullptr) continue;
    if ((*slot)->deadline_ > now || (*slot)->extend()) {
      next = std::min(next, (*slot)->deadline_);
      continue;
    }
    (*slot)->code_ = code::kTimedOut;
    expired[count++] = std::exchange(*slot, nullptr)->waiting_;
  }
  if (next != Instant::max()) loop_.timers().arm(timer_, next);
  // The first one resumed may end the stream; the second is only a handle by then.
  if (count == 2) loop_.post(expired[1]);
  if (count > 0) expired[0].resume();
}

void Stream::wake(bool reader, bool writer) noexcept {
  std::coroutine_handle<> ready[2];
  std::size_t count = 0;
  if (reader && reader_ != nullptr && reader_->attempt())
    ready[count++] = std::exchange(reader_, nullptr)->waiting_;
  if (writer && writer_ != nullptr && writer_->attempt())
    ready[count++] = std::exchange(writer_, nullptr)->waiting_;
  if (count == 2) loop_.post(ready[1]);
  if (count > 0) ready[0].resume();
}

void Stream::cancel_side(Operation*& slot) noexcept {
  if (slot == nullptr) return;
  slot->code_ = code::kCancelled;
  loop_.post(std::exchange(slot, nullptr)->waiting_);
}

void Stream::cancel() noexcept {
  cancel_side(reader_);
  cancel_side(writer_);
}

}  // namespace merlon::io
