#pragma once

#include <memory>
#include <string>
#include <vector>

#include "http/exchange.h"
#include "http/h2_connection.h"
#include "io/signal.h"

namespace merlon::http {

class H2Server;

/// One request and its response on an HTTP/2 connection.
class H2ServerStream final : public ServerExchange, public H2Stream, private TunnelEnd {
 public:
  explicit H2ServerStream(H2Server& connection);

  [[nodiscard]] RequestHead& request() noexcept override { return head_; }
  [[nodiscard]] const RequestHead& request() const noexcept override { return head_; }
  [[nodiscard]] std::string_view protocol() const noexcept override { return "HTTP/2.0"; }
  [[nodiscard]] bool body_unread() const noexcept override {
    return !body_done_ && !head_.only_websocket;
  }
  [[nodiscard]] Result<BodyPart> buffered_body() noexcept override;
  [[nodiscard]] io::Task<Result<BodyPart>> read_body(Instant deadline) override;
  [[nodiscard]] bool body_fits() const noexcept override;
  [[nodiscard]] io::Task<Result<BodyPart>> gather_body(BodyPart first, Instant deadline) override;
  [[nodiscard]] io::Task<Result<void>> send_continue() override;
  /// A request that was malformed is reset instead of answered (RFC 9113 §8.1.1).
  [[nodiscard]] io::Task<Result<void>> send_head(const ResponseHead& head, BodyPart first) override;
  [[nodiscard]] io::Task<Result<void>> send_body(BodyPart part) override;
  [[nodiscard]] io::Task<Result<void>> open_tunnel(ResponseHead& head) override;
  [[nodiscard]] TunnelEnd& tunnel() noexcept override { return *this; }
  /// Other streams have nothing to do with this one: only what is left of its body is refused.
  void close_after() noexcept override {}
  void cancel_body() noexcept override;
  void cut_off() noexcept override {
    cancel_body();
    cancel_write();
  }
  void expect_messages(milliseconds idle, Instant deadline) noexcept override {
    message_idle_ = idle;
    messages_end_ = deadline;
  }
  void give_up_unsent() noexcept override;
  void upstream_lost() noexcept override;
  [[nodiscard]] std::uint64_t bytes_received() const noexcept override { return received_; }
  [[nodiscard]] std::uint64_t bytes_sent() const noexcept override { return sent_; }
  [[nodiscard]] bool head_sent() const noexcept override { return head_sent_; }

  /// Called once when the client resets the stream or the connection ends before the response is
  /// complete; also at once, when that has happened. Null for none.
  using GoneHandler = void (*)(void* context) noexcept;
  void on_gone(GoneHandler handler, void* context) noexcept;

 private:
  friend class H2Server;
  /// Of a response of which more is to come: so much is taken in while the client's windows are
  /// shut, so that an upstream gets rid of a small one whatever the client does.
  static constexpr std::size_t kRestBytesMax = 16 * 1024;

  H2HeadReader::Into head_room() override;
  Result<HeadFacts> finish_head(H2HeadReader& reader, bool end_stream) noexcept override;
  void on_input() noexcept override { input_.notify_all(); }
  void on_output() noexcept override { output_.notify_all(); }

  // h2_server_tunnel.cc
  io::Attempt try_read(std::span<char> into) noexcept override;
  io::Task<Result<void>> wait_readable(Instant deadline) override;
  io::Attempt try_write(std::string_view bytes) noexcept override;
  io::Task<Result<void>> write(std::string_view bytes) override;
  void finish_writing() noexcept override;
  bool settled() const noexcept override;
  io::Task<Result<void>> settle() override { return until_taken(); }
  void cancel_read() noexcept override { input_.cancel(); }
  void cancel_write() noexcept override;

  void end() noexcept;
  void tell_gone() noexcept;
  void end_if_over_budget() noexcept;
  void give_back_part() noexcept;
  [[nodiscard]] Result<BodyPart> take_part() noexcept;
  [[nodiscard]] io::Task<Result<void>> wait_for_body(Instant deadline);
  [[nodiscard]] io::Task<Result<void>> until_taken();
  [[nodiscard]] io::Task<Result<void>> send_out(const BodyPart& part);
  [[nodiscard]] io::Task<Result<void>> send_behind(BodyPart part);
  [[nodiscard]] io::Task<Result<void>> count_when_taken(std::size_t bytes);
  [[nodiscard]] bool may_take_in(std::size_t bytes) noexcept;
  [[nodiscard]] std::unexpected<Error> gone() const noexcept;

  H2Server& connection_;
  io::Signal input_;
  io::Signal output_;
  io::PooledBytes held_;  ///< the part that the reader has
  std::string gathered_;  ///< the body, when it was waited for
  std::string rest_;      ///< what the client's windows have not taken yet, and more follows
  std::uint64_t response_bytes_ = UINT64_MAX;  ///< the body's; that: not known
  std::uint64_t sent_ = 0;
  nanoseconds waited_{};                   ///< for the body, in all
  milliseconds message_idle_{};            ///< zero: a least pace is asked for
  Instant messages_end_ = Instant::max();  ///< nothing is sent after it
  std::size_t slot_ = 0;                   ///< in the connection's list
  GoneHandler gone_handler_ = nullptr;
  void* gone_context_ = nullptr;
  bool gone_ = false;  ///< nothing can be sent or received any more
  bool body_done_ = false;
  bool body_cancelled_ = false;
  bool output_cancelled_ = false;
  bool bodiless_ = false;
  bool head_sent_ = false;
  std::uint64_t gathering_bytes_ = 0;  ///< counted in the connection's
  bool response_counted_ = false;      ///< among them
  bool queued_ = false;                ///< it is, or was, among those that are ready
  bool serving_ = false;               ///< it has a coroutine
  bool served_ = false;                ///< both sides are done, and only the coroutine is to end
  // Long, and seldom full: last.
  RequestHead head_;
  H2HeadText head_text_;
};

/// The server's side of HTTP/2 on one connection: each request is served by a coroutine of its own,
/// and all of them share the connection's reads and writes.
class H2Server final : private H2Connection {
 public:
  /// Who serves the requests.
  class Handler {
   public:
    virtual ~Handler() = default;
    /// Serves one; when it returns, the stream ends. `stream.broken()` tells of a head that cannot
    /// be served and is to be refused.
    virtual io::Task<void> serve(H2ServerStream& stream) = 0;
  };
  struct Options {
    H2Settings settings;
    HeadLimits head_limits;
    milliseconds head_timeout{10'000};  ///< of the preface, and of each header block
    milliseconds idle_timeout{60'000};  ///< without streams
  };

  /// `stream` and `handler` outlive it.
  H2Server(io::Stream& stream, Handler& handler, const Options& options);
  ~H2Server() override;

  /// Serves until the client goes, a violation, or the end of a drain. `begun`: what was read of
  /// the connection already. Returns why it ended when that was no good end, else code 0.
  [[nodiscard]] io::Task<Error> run(std::string_view begun);
  /// Takes no new streams after a moment's notice (RFC 9113 §6.8), and ends when all are done.
  void drain() noexcept;
  /// The time of a drain is over: takes no new streams, waits for no more of a body, and ends with
  /// the streams that it has. `tell` is called with the context of each that has an on_gone.
  void end_with_streams(H2ServerStream::GoneHandler tell) noexcept;
  /// Calls `f` with the context of each stream that has an on_gone.
  template <class F>
  void for_each_served(F f) const {
    for (const auto& stream : streams_) {
      if (stream->gone_handler_ != nullptr) f(stream->gone_context_);
    }
  }
  using H2Connection::abort;
  using H2Connection::input_error;
  using H2Connection::look_again;
  using H2Connection::loop;
  using H2Connection::pump;
  using H2Connection::session;
  /// There is room for another body that is waited for, or that waits for the client.
  [[nodiscard]] bool may_gather(std::uint64_t bytes) const noexcept {
    return bytes <= options_.settings.stream_window_bytes &&
           gathered_bytes_ + bytes <= kGatheredBytesMax;
  }
  /// The room is taken until the stream ends.
  void count_gathered(std::uint64_t bytes) noexcept { gathered_bytes_ += bytes; }
  [[nodiscard]] std::size_t streams() const noexcept { return streams_.size(); }
  [[nodiscard]] const HeadLimits& head_limits() const noexcept { return options_.head_limits; }

 private:
  static constexpr std::uint64_t kGatheredBytesMax = 256 * 1024;

  H2Stream* open_stream(std::int32_t id) override;
  void request_ready(H2Stream& stream) override;
  void stream_closed(H2Stream& stream) noexcept override;
  [[nodiscard]] Instant deadline() const noexcept override;
  void on_deadline() noexcept override;
  void on_received() override;
  void on_end() noexcept override;

  void queue(H2ServerStream& stream);
  void finish(H2ServerStream& stream) noexcept;
  void remove(H2ServerStream& stream) noexcept;

  Handler& handler_;
  const Options options_;
  std::vector<std::unique_ptr<H2ServerStream>> streams_;  ///< until their coroutines have ended
  std::vector<H2ServerStream*> ready_;
  io::TaskSet tasks_;
  io::Signal ended_;
  std::size_t served_ = 0;            ///< of `streams_`, those that are served
  std::uint64_t gathered_bytes_ = 0;  ///< bodies that wait, or did
  Instant since_;
  Instant idle_since_;
  std::optional<Instant> drain_at_;  ///< when the last GOAWAY of a drain goes out
  bool draining_ = false;
};

}  // namespace merlon::http
