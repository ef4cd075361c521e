#pragma once

#include <sys/uio.h>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/error.h"
#include "io/loop.h"

namespace merlon::io {

/// What one attempt to read or write gave. `n` bytes moved when `status` is kOk.
struct Attempt {
  enum class Status : std::uint8_t {
    kOk,
    kWouldBlock,  ///< nothing moved; the stream tells when it is worth another attempt
    kEnd,         ///< the peer has finished sending (reads only)
    kError        ///< `code` says what
  };
  Status status = Status::kOk;
  std::uint16_t code = 0;
  std::size_t n = 0;

  static Attempt moved(std::size_t n) noexcept { return {.n = n}; }
  static Attempt would_block() noexcept { return {.status = Status::kWouldBlock}; }
  static Attempt end() noexcept { return {.status = Status::kEnd}; }
  static Attempt error(std::uint16_t code) noexcept {
    return {.status = Status::kError, .code = code};
  }
};

/// A stream of bytes in both directions: a TCP connection, TLS over one, or a simulated pipe.
///
/// Belongs to one loop. At most one read-side and one write-side operation wait at a time; each has
/// a deadline. `cancel` ends both with kCancelled. The stream outlives the operations on it.
class Stream {
 public:
  explicit Stream(Loop& loop) noexcept : timer_(*this), loop_(loop) {}
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  virtual ~Stream() = default;

  [[nodiscard]] Loop& loop() const noexcept { return loop_; }

  /// Reads what is there, up to `into`. Never waits. Must not be called while a read waits.
  virtual Attempt try_read(std::span<char> into) noexcept = 0;
  /// Writes what fits of the pieces. Never waits. Must not be called while a write waits. A little
  /// of what it took may lie here until the end of the turn, or until the peer makes room:
  /// `unsent` tells.
  virtual Attempt try_write(std::span<const iovec> pieces) noexcept = 0;
  /// What became of the bytes that `try_write` took: kOk when the transport has them all,
  /// kWouldBlock while it has no room for the last of them, kError when it took them no more.
  [[nodiscard]] virtual Attempt unsent() const noexcept { return Attempt::moved(0); }
  /// True when bytes, the end or an error may be at hand, so that `try_read` is worth its cost.
  [[nodiscard]] virtual bool readable() const noexcept = 0;
  /// Says to the peer that nothing more is sent, where the transport can (FIN, close_notify).
  virtual void finish_writing() noexcept = 0;
  /// The next bytes written are the last: what ends the stream may go out with them. Call
  /// `finish_writing` once they are.
  virtual void finish_with_write() noexcept {}
  /// Gives what `try_write` took to the transport now. True when it has all of it: whoever closes
  /// the stream otherwise cuts off what it has written.
  virtual bool hand_over() noexcept { return true; }
  /// The same with what ends the stream. True when closing says the end as well, without the calls
  /// that `finish_writing` makes.
  virtual bool finish_by_closing() noexcept { return false; }
  /// Bytes that were written and that the peer has not acknowledged, as far as the transport tells.
  [[nodiscard]] virtual std::size_t unacknowledged_bytes() const noexcept { return 0; }
  /// Gives back memory that an idle connection does not need.
  virtual void release_idle_memory() noexcept {}

  /// One operation that may have to wait; `co_await` it in a statement of its own.
  class Operation {
   public:
    [[nodiscard]] bool await_ready() noexcept { return attempt(); }
    void await_suspend(std::coroutine_handle<> waiting) noexcept;

   protected:
    enum class Side : std::uint8_t { kRead, kWrite };
    Operation(Stream& stream, Side side, Instant deadline) noexcept
        : stream_(stream), deadline_(deadline), side_(side) {}
    ~Operation() = default;
    /// Tries to complete; true when it has, with the outcome set.
    virtual bool attempt() noexcept = 0;
    /// At the deadline: true when it was moved on.
    virtual bool extend() noexcept { return false; }
    [[nodiscard]] std::unexpected<Error> failure() const noexcept;

    Stream& stream_;
    std::uint16_t code_ = 0;
    Instant deadline_;

   private:
    friend class Stream;
    std::coroutine_handle<> waiting_;
    Side side_;
  };

  class Read final : public Operation {
   public:
    Read(Stream& stream, std::span<char> into, Instant deadline) noexcept
        : Operation(stream, Side::kRead, deadline), into_(into) {}
    /// Bytes read, at least 1; 0 when the peer has finished sending.
    [[nodiscard]] Result<std::size_t> await_resume() const noexcept {
      if (code_ != 0) return failure();
      return n_;
    }

   private:
    bool attempt() noexcept override;
    std::span<char> into_;
    std::size_t n_ = 0;
  };

  class WaitReadable final : public Operation {
   public:
    WaitReadable(Stream& stream, Instant deadline) noexcept
        : Operation(stream, Side::kRead, deadline) {}
    [[nodiscard]] Result<void> await_resume() const noexcept {
      if (code_ != 0) return failure();
      return {};
    }

   private:
    bool attempt() noexcept override { return stream_.readable(); }
  };

  /// How fast a peer takes what it is sent, at least.
  struct Pace {
    milliseconds interval;
    std::size_t bytes;  ///< in each interval
  };

  class Write final : public Operation {
   public:
    Write(Stream& stream, std::span<iovec> pieces, Instant deadline,
          std::optional<Pace> pace) noexcept
        : Operation(stream, Side::kWrite, deadline), pieces_(pieces), pace_(pace) {}
    void await_suspend(std::coroutine_handle<> waiting) noexcept {
      if (pace_) unacknowledged_ = stream_.unacknowledged_bytes();
      written_ = 0;
      Operation::await_suspend(waiting);
    }
    [[nodiscard]] Result<void> await_resume() const noexcept {
      if (code_ != 0) return failure();
      return {};
    }

   private:
    bool attempt() noexcept override;
    bool settle(const Attempt& outcome) noexcept;
    bool extend() noexcept override;
    std::span<iovec> pieces_;
    std::size_t unacknowledged_ = 0;  ///< when the wait, or its extension, began
    std::size_t written_ = 0;         ///< since then
    const std::optional<Pace> pace_;
  };

  /// Reads at least one byte into `into`, which stays valid until then. No buffer is held while the
  /// caller waits with `wait_readable` first.
  [[nodiscard]] Read read(std::span<char> into, Instant deadline) noexcept {
    return {*this, into, deadline};
  }
  /// Waits until a read would not wait.
  [[nodiscard]] WaitReadable wait_readable(Instant deadline) noexcept { return {*this, deadline}; }
  /// Writes all pieces, and waits until the transport has room for what it held back of earlier
  /// ones; without pieces that is all it does. `pieces` itself is used up. Both stay valid until
  /// then.
  [[nodiscard]] Write write(std::span<iovec> pieces, Instant deadline) noexcept {
    return {*this, pieces, deadline, std::nullopt};
  }
  /// The same, for as long as the peer keeps pace. What it takes is told by its acknowledgements:
  /// buffers between may be larger than all of `pieces`.
  [[nodiscard]] Write write_paced(std::span<iovec> pieces, Pace pace = kLeastPace) noexcept {
    return {*this, pieces, loop_.now() + pace.interval, pace};
  }
  static constexpr Pace kLeastPace{.interval = milliseconds{10'000},
                                   .bytes = 10 * 1024};  ///< 1 KiB/s

  /// Ends what waits on this stream, with kCancelled, later in this turn.
  void cancel() noexcept;
  void cancel_read() noexcept { cancel_side(reader_); }
  void cancel_write() noexcept { cancel_side(writer_); }
  [[nodiscard]] bool read_waits() const noexcept { return reader_ != nullptr; }
  /// The frame of the coroutine that waits for reading; null when none does.
  [[nodiscard]] void* reading_frame() const noexcept {
    return reader_ == nullptr ? nullptr : reader_->waiting_.address();
  }

 protected:
  /// For implementations: another attempt is worth it. May destroy the stream, so it comes last.
  void wake(bool reader, bool writer) noexcept;
  /// A waiting operation of its own kind, such as a handshake.
  friend class Operation;
  /// Sees to it that `on_deadline_of_idle` is called by then, or earlier.
  void arm(Instant deadline) noexcept;
  /// The timer has fired while no operation waited. May destroy the stream.
  virtual void on_deadline_of_idle() noexcept {}

 private:
  class Deadline final : public Timer {
   public:
    explicit Deadline(Stream& stream) noexcept : Timer(&Deadline::fire), stream_(stream) {}

   private:
    static void fire(Timer& timer) noexcept;
    Stream& stream_;
  };

  void on_deadline() noexcept;
  void cancel_side(Operation*& slot) noexcept;

  // One timer for both sides. It is left armed when an operation ends and looked at when it fires:
  // a busy connection moves its deadline with every request, and moving a timer each time would
  // cost.
  Deadline timer_;
  Loop& loop_;
  Operation* reader_ = nullptr;
  Operation* writer_ = nullptr;
};

}  // namespace merlon::io
