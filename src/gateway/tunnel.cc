#include "gateway/tunnel.h"

#include <algorithm>

namespace merlon::gateway {
namespace {

// One read takes this much; the kernel holds the rest back, and with it the peer.
constexpr std::size_t kReadBytes = 64 * 1024;
// What one direction moves before others have their turn.
constexpr std::size_t kBytesPerTurn = 256 * 1024;
// When one side has ended, the other may finish what it is saying.
constexpr seconds kLastWords{5};

/// Filled and emptied between two waits, so one per thread is enough.
std::span<char> scratch() noexcept {
  thread_local std::array<char, kReadBytes> bytes;
  return bytes;
}

}  // namespace

Tunnel::Tunnel(Worker& worker, Owner& owner, http::TunnelEnd& client, http::TunnelEnd& upstream,
               milliseconds idle_timeout, bool extended)
    : worker_(worker),
      owner_(owner),
      up_{.from = client, .to = upstream, .frames = {true, extended}, .blame = Blame::kClient},
      down_{.from = upstream, .to = client, .frames = {false, extended}, .blame = Blame::kUpstream},
      idle_timeout_(idle_timeout),
      moved_(worker.loop().now()),
      end_by_(worker.tunnels_end()) {
  worker_.enter(*this);
}

Tunnel::~Tunnel() { worker_.leave(*this); }

io::Task<Error> Tunnel::run() {
  io::Fork up(carry(up_));
  co_await carry(down_);
  co_await up.join();
  if (!aborted_) {
    say_farewell(up_, true);
    say_farewell(down_, false);
  }
  // Whoever owns the streams closes them next: what a slow side was told last may still wait here.
  if (!over_) static_cast<void>(co_await up_.to.settle());
  if (!over_) static_cast<void>(co_await down_.to.settle());
  co_return why_;
}

Instant Tunnel::deadline() const noexcept { return std::min(moved_ + idle_timeout_, end_by_); }

void Tunnel::abort() noexcept {
  aborted_ = true;
  stop({.code = code::kCancelled, .what = "the tunnel was cut off"});
}

void Tunnel::end_by(Instant when) noexcept {
  if (when >= end_by_ || over_) return;
  end_by_ = when;
  up_.from.cancel_read();
  down_.from.cancel_read();
}

void Tunnel::stop(const Error& why) noexcept {
  if (over_) return;
  over_ = true;
  why_ = why;
  for (Flow* flow : {&up_, &down_}) {
    flow->from.cancel_read();
    flow->to.cancel_write();
  }
}

/// Bytes of one side to the other until it ends.
io::Task<void> Tunnel::carry(Flow& flow) {
  std::size_t turn = 0;
  while (!over_) {
    const io::Attempt got = flow.from.try_read(scratch());
    switch (got.status) {
      case io::Attempt::Status::kOk: {
        moved_ = worker_.loop().now();
        const bool sent = co_await forward(flow, {scratch().data(), got.n});
        if (!sent) break;
        turn += got.n;
        if (turn >= kBytesPerTurn) {
          turn = 0;
          co_await worker_.loop().yield();
        }
        break;
      }
      case io::Attempt::Status::kWouldBlock: {
        turn = 0;
        if (!flow.to.settled()) {
          const Result<void> settled = co_await flow.to.settle();
          static_cast<void>(note_written(settled));
          break;
        }
        const Result<void> readable = co_await flow.from.wait_readable(deadline());
        if (!readable) judge_wait(flow, readable.error());
        break;
      }
      case io::Attempt::Status::kEnd:
      case io::Attempt::Status::kError:
        note_last(flow, got);
        co_return;
    }
  }
}

/// Nothing more comes.
void Tunnel::note_last(Flow& flow, const io::Attempt& got) noexcept {
  // A peer that leaves without a word, or resets, after both have said Close: that is an end.
  if (got.status == io::Attempt::Status::kEnd || flow.frames.closed()) {
    note_end(flow);
  } else {
    stop({.code = got.code, .blame = flow.blame, .what = "one side of the tunnel failed"});
  }
}

/// `bytes` are in the scratch: they are sent, or kept, before anything waits.
io::Task<bool> Tunnel::forward(Flow& flow, std::string_view bytes) {
  using Done = io::Task<bool>;
  const bool between = flow.frames.may_close();
  if (!flow.frames.advance(bytes)) {
    flow.cut_between = between;
    stop({.code = code::kWebSocketFrame, .blame = flow.blame, .what = "this is no WebSocket"});
    return Done::ready(false);
  }
  const io::Attempt put = flow.to.try_write(bytes);
  const bool broken = put.status == io::Attempt::Status::kError;
  if (broken) {
    stop({.code = put.code, .blame = flow.blame, .what = "one side of the tunnel failed"});
    return Done::ready(false);
  }
  if (put.n == bytes.size()) return Done::ready(true);
  flow.waiting.assign(bytes.substr(put.n));
  return drain_waiting(flow);
}

io::Task<bool> Tunnel::drain_waiting(Flow& flow) {
  const Result<void> written = co_await flow.to.write(flow.waiting);
  if (!note_written(written)) co_return false;
  // The next time it is full will be long from now.
  flow.waiting = std::string();
  co_return true;
}

bool Tunnel::note_written(const Result<void>& written) noexcept {
  if (written) {
    moved_ = worker_.loop().now();
  } else {
    stop({.code = written.error().code,
          .blame = written.error().blame,
          .what = "one side of the tunnel does not read"});
  }
  return written.has_value();
}

void Tunnel::note_end(Flow& flow) noexcept {
  flow.ended = true;
  flow.to.finish_writing();
  if (std::exchange(ending_, true)) return;
  end_by(worker_.loop().now() + kLastWords);
}

void Tunnel::judge_wait(const Flow& flow, const Error& error) noexcept {
  if (over_) return;
  const Instant now = worker_.loop().now();
  if (error.code == code::kTimedOut) {
    if (now < deadline()) return;  // the other direction has moved meanwhile
    if (ending_) {
      stop({});
    } else if (now >= end_by_) {
      stop({.code = code::kDraining, .blame = Blame::kInternal, .what = "the gateway drains"});
    } else {
      stop({.code = code::kWebSocketIdle, .blame = flow.blame, .what = "nothing has passed"});
    }
  } else if (error.code != code::kCancelled) {
    stop({.code = error.code, .blame = flow.blame, .what = "one side of the tunnel failed"});
  }
  // Cancelled: the deadline has moved.
}

/// A Close of our own where a frame may begin, and the end of what we say.
void Tunnel::say_farewell(Flow& flow, bool to_server) noexcept {
  if (flow.ended) return;
  const bool between = flow.frames.may_close() || flow.cut_between;
  if (why_.code != 0 && flow.waiting.empty() && between) {
    // Whoever broke the rules is told so; the other side has done nothing.
    const bool offender = why_.code == code::kWebSocketFrame && why_.blame != flow.blame;
    const auto code =
        offender ? http::WebSocketClose::kProtocolError : http::WebSocketClose::kGoingAway;
    static_cast<void>(flow.to.try_write(http::make_close_frame(code, to_server).view()));
  }
  flow.to.finish_writing();
}

}  // namespace merlon::gateway
