#pragma once

#include <sys/socket.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/ip.h"
#include "io/broker.h"
#include "io/call_batch.h"
#include "io/fd.h"
#include "io/stream.h"
#include "io/task.h"

namespace merlon::io {

/// A TCP connection as a Stream. Also the ground on which TLS stands: `raw_read` and `raw_write`
/// are the plain operations, whatever `try_read` is overridden with.
class SocketStream : public Stream, private Watch {
 public:
  /// Takes the descriptor, which is non-blocking. `connecting`: it was not established yet.
  SocketStream(Loop& loop, Fd fd, bool connecting = false) noexcept;
  ~SocketStream() override;

  /// False when the poller has no room for it; nothing works then.
  [[nodiscard]] bool attached() const noexcept { return attached_; }

  Attempt try_read(std::span<char> into) noexcept override { return raw_read(into); }
  Attempt try_write(std::span<const iovec> pieces) noexcept override { return raw_write(pieces); }
  [[nodiscard]] bool readable() const noexcept override { return raw_readable(); }
  [[nodiscard]] Attempt unsent() const noexcept override;
  void finish_writing() noexcept override;
  void finish_with_write() noexcept override { write_flags_ |= MSG_MORE; }
  bool hand_over() noexcept override;
  bool finish_by_closing() noexcept override { return hand_over(); }
  [[nodiscard]] std::size_t unacknowledged_bytes() const noexcept override;

  /// True when the peer closed or reset, or sent something nobody has read: what an idle connection
  /// to an upstream must not have.
  [[nodiscard]] bool has_news() noexcept;
  /// The other side's address; nullopt when it is gone.
  [[nodiscard]] std::optional<Endpoint> peer() const noexcept;
  [[nodiscard]] std::optional<Endpoint> local() const noexcept;
  /// Closing sends a reset instead of a FIN: for peers that deserve no more.
  void reset_on_close() noexcept;
  /// Called for events while no operation waits, and by `deadline`, possibly more than once: for
  /// idle connections, which keep no coroutine. May destroy the stream. Null for none. `begins`:
  /// see Watch::let_wait.
  using IdleHandler = void (*)(void* context) noexcept;
  void on_idle_event(IdleHandler handler, void* context, Instant deadline = Instant::max(),
                     std::uint8_t begins = 0) noexcept {
    idle_handler_ = handler;
    idle_context_ = context;
    idle_timed_ = deadline != Instant::max();
    reset_only_ = false;
    let_wait(begins);
    arm(deadline);
  }
  /// In place of it, while a request is served: called when the peer resets the connection, also
  /// when an operation waits, which then fails. A FIN is no reset: who has sent all may still want
  /// the answer. Must not destroy the stream. Costs nothing until then: the poller tells unasked.
  void on_reset(IdleHandler handler, void* context) noexcept {
    on_idle_event(handler, context);
    reset_only_ = true;
  }
  /// Whether events wait where no idle handler is set; both calls above set it anew.
  using Watch::let_wait;
  /// Something has come that may wait, and is told when those before it have had their turn.
  [[nodiscard]] bool has_event_waiting() const noexcept { return waits(); }

  // ---- For CallBatch. ----

  /// Something of this stream waits in the loop's batch.
  [[nodiscard]] bool has_queued_send() const noexcept { return send_queued_; }
  /// What was received ahead; it stays valid until `keep_received`.
  void take_received(Received& received) noexcept;
  void keep_received() noexcept;
  /// The outcome of a send from the batch: bytes, or a negative errno.
  void on_queue_sent(std::span<const char> bytes, int result) noexcept;

  /// Waits until a connection in progress is decided.
  class Connected final : public Operation {
   public:
    Connected(SocketStream& stream, Instant deadline) noexcept
        : Operation(stream, Side::kWrite, deadline), socket_(stream) {}
    [[nodiscard]] Result<void> await_resume() const noexcept {
      if (code_ != 0) return failure();
      return {};
    }

   private:
    bool attempt() noexcept override;
    SocketStream& socket_;
  };
  [[nodiscard]] Connected connected(Instant deadline) noexcept { return {*this, deadline}; }

 protected:
  Attempt raw_read(std::span<char> into) noexcept;
  Attempt raw_write(std::span<const iovec> pieces) noexcept;
  [[nodiscard]] bool raw_readable() const noexcept { return raw_readable_; }
  [[nodiscard]] bool raw_writable() const noexcept { return raw_writable_; }
  /// What a write gets while the socket is not writable: it waits, or will never be.
  [[nodiscard]] Attempt held_back() const noexcept;
  /// Which sides to wake for readiness of the socket; TLS may need to read in order to write.
  virtual void on_ready(bool readable, bool writable) noexcept { wake(readable, writable); }

 private:
  /// Bytes between this stream and the kernel, where the batch could not do with them at once.
  struct Kept {
    std::string in;
    std::size_t in_from = 0;
    std::string out;
    std::uint16_t in_code = 0;   ///< the failure of a receive that nobody has asked for yet
    std::uint16_t out_code = 0;  ///< why `out`, and everything after it, will never be sent
    bool shut_when_sent = false;
    [[nodiscard]] bool empty() const noexcept {
      return in.empty() && out.empty() && in_code == 0 && out_code == 0;
    }
  };
  void plan_receive(CallBatch& batch, std::uint32_t events) noexcept override;
  void on_events(std::uint32_t events) noexcept override;
  void on_deadline_of_idle() noexcept override {
    if (idle_timed_) idle_handler_(idle_context_);
  }
  [[nodiscard]] Kept& kept();
  Attempt read_ahead(std::span<char> into) noexcept;
  [[nodiscard]] Attempt end_of_input() const noexcept;
  Attempt send_pieces(std::span<const iovec> pieces, std::size_t bytes) noexcept;
  void send_queued() noexcept;
  bool make_writable() noexcept;
  void send_kept() noexcept;

  Fd fd_;
  bool attached_ = false;
  bool idle_timed_ = false;
  bool reset_only_ = false;
  bool raw_readable_ = false;
  bool raw_writable_ = true;
  int write_flags_ = MSG_NOSIGNAL;
  bool peer_closing_ = false;  ///< a close was signalled: a short read does not mean drained
  bool send_queued_ = false;
  bool reads_much_ = false;  ///< the last read was long: it is read straight to where it belongs
  Received* received_ = nullptr;
  std::unique_ptr<Kept> kept_;
  IdleHandler idle_handler_ = nullptr;
  void* idle_context_ = nullptr;
};

/// Ends an attempt to connect from outside. It outlives the attempt.
class ConnectCancel {
 public:
  /// The attempt that is under way, if one is, fails with kCancelled.
  void operator()() noexcept {
    if (stream_ != nullptr) stream_->cancel();
  }

  /// For the time of its life `stream` is what `cancel`, which may be null, ends.
  class Scope {
   public:
    Scope(ConnectCancel* cancel, SocketStream& stream) noexcept : cancel_(cancel) {
      if (cancel_ != nullptr) cancel_->stream_ = &stream;
    }
    ~Scope() {
      if (cancel_ != nullptr) cancel_->stream_ = nullptr;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    ConnectCancel* const cancel_;
  };

 private:
  SocketStream* stream_ = nullptr;
};

/// Connects to `endpoint` before `deadline`. The broker opens the socket. Codes: kTimedOut,
/// kRefused, kUnreachable, kResources, kCancelled, kIo; all blamed on the upstream and retryable.
Task<Result<std::unique_ptr<SocketStream>>> connect(Loop& loop, Broker& broker, Endpoint endpoint,
                                                    Instant deadline,
                                                    ConnectCancel* cancel = nullptr);

/// Accepts connections on a listening socket and hands each one out.
///
/// At the limit of file descriptors it sheds: a spare descriptor is given up to accept and close
/// the waiting connection at once, so that clients are told and the queue does not grow stale. What
/// one acceptor gives up, another could take for a client of its own: as long as any acceptor of
/// the process is without its spare, all of them close what they accept.
class Acceptor final : private Watch {
 public:
  using Handler = std::function<void(Fd, const Endpoint& peer)>;
  /// `on_shed` is called for each connection closed for lack of descriptors.
  Acceptor(Loop& loop, Fd listener, Handler handler, std::function<void()> on_shed);
  ~Acceptor() override;

  /// Lets no new connection begin, while those that have begun are still accepted: for a while
  /// before `close`, so that nobody who was let in is turned away.
  void admit_no_more() noexcept;
  /// Stops accepting; what waits in the kernel's queue goes with the socket.
  void close() noexcept;
  [[nodiscard]] bool attached() const noexcept { return attached_; }

 private:
  class Retry final : public Timer {
   public:
    explicit Retry(Acceptor& acceptor) noexcept : Timer(&Retry::fire), acceptor_(acceptor) {}

   private:
    static void fire(Timer& timer) noexcept { static_cast<Retry&>(timer).acceptor_.on_events(0); }
    Acceptor& acceptor_;
  };
  /// A descriptor to give up and to open again. That others know of its want before it is given up
  /// is what keeps them from taking its place.
  class Spare {
   public:
    Spare() noexcept;
    ~Spare();
    Spare(const Spare&) = delete;
    Spare& operator=(const Spare&) = delete;

    void give_up() noexcept;
    bool reopen() noexcept;  ///< true once it is open: false while there is no descriptor for it
    [[nodiscard]] static bool any_wanted() noexcept { return wanted_.load() != 0; }

   private:
    [[nodiscard]] static Fd make() noexcept;
    static std::atomic<int> wanted_;
    Fd held_;
  };
  void on_events(std::uint32_t events) noexcept override;
  bool shed_one() noexcept;

  Loop& loop_;
  Fd listener_;
  std::optional<Spare> spare_;  ///< until it is closed
  Handler handler_;
  std::function<void()> on_shed_;
  Retry retry_;
  bool attached_ = false;
};

/// The merlon code for an errno of a socket operation.
[[nodiscard]] std::uint16_t code_of_errno(int number) noexcept;

}  // namespace merlon::io
