#pragma once

#include <array>
#include <string>

#include "http/exchange.h"
#include "http/h1_body.h"
#include "http/h1_request_parser.h"
#include "io/stream.h"

namespace merlon::http {

/// The server's side of HTTP/1.1 on one connection, request after request. Large (about 40 KiB): a
/// worker keeps a pool of them, and an idle connection has none.
class H1Server final : public ServerExchange {
 public:
  explicit H1Server(const HeadLimits& limits) noexcept : parser_(limits) {}

  /// Serves `stream` from now on, which outlives its use here.
  void attach(io::Stream& stream) noexcept;
  /// Reads the next head until `deadline`. False: the client closed between two requests. Errors:
  /// grammar; kHeadTooSlow when a head had begun, kTimedOut when not; kClosed inside a head.
  [[nodiscard]] io::Task<Result<bool>> next_head(Instant deadline);
  /// Ends the exchange. True when the connection can carry another request; then bytes of it may be
  /// here already (`buffered`).
  [[nodiscard]] bool finish() noexcept;
  [[nodiscard]] bool buffered() const noexcept { return end_ > 0; }
  /// What has been received of a head that is not whole, or could not be read.
  [[nodiscard]] std::string_view received() const noexcept { return {buffer_.data(), end_}; }
  /// True once a response has gone out since attach().
  [[nodiscard]] bool served() const noexcept { return served_; }

  [[nodiscard]] RequestHead& request() noexcept override { return parser_.head(); }
  [[nodiscard]] const RequestHead& request() const noexcept override { return parser_.head(); }
  [[nodiscard]] std::string_view protocol() const noexcept override {
    return parser_.head().minor_version == 0 ? "HTTP/1.0" : "HTTP/1.1";
  }
  [[nodiscard]] bool body_unread() const noexcept override { return !body_done_; }
  [[nodiscard]] Result<BodyPart> buffered_body() noexcept override;
  [[nodiscard]] io::Task<Result<BodyPart>> read_body(Instant deadline) override;
  [[nodiscard]] bool body_fits() const noexcept override;
  [[nodiscard]] io::Task<Result<BodyPart>> gather_body(BodyPart first, Instant deadline) override;
  [[nodiscard]] io::Task<Result<void>> send_continue() override;
  [[nodiscard]] io::Task<Result<void>> send_head(const ResponseHead& head, BodyPart first) override;
  [[nodiscard]] io::Task<Result<void>> send_body(BodyPart part) override;
  [[nodiscard]] io::Task<Result<void>> open_tunnel(ResponseHead& head) override;
  [[nodiscard]] TunnelEnd& tunnel() noexcept override { return tunnel_; }
  void close_after() noexcept override { close_ = true; }
  void cancel_body() noexcept override { stream_->cancel_read(); }
  void cut_off() noexcept override { stream_->cancel(); }
  [[nodiscard]] std::uint64_t bytes_received() const noexcept override {
    return received_ + tunnel_.bytes_read();
  }
  [[nodiscard]] std::uint64_t bytes_sent() const noexcept override {
    return sent_ + tunnel_.bytes_written();
  }
  [[nodiscard]] bool head_sent() const noexcept override { return head_sent_; }
  /// The response began and could not be completed: the connection must not look well ended.
  [[nodiscard]] bool response_broken() const noexcept { return head_sent_ && !response_done_; }
  /// The client announced that this request, which has no body, is its last, and the answer to it
  /// was short. Nothing is on its way that a closed socket would answer with a reset; and if there
  /// were, little would be lost by it.
  [[nodiscard]] bool is_last() const noexcept {
    const RequestHead& head = parser_.head();
    return response_done_ && sent_ <= kShortAnswer && !head.keep_alive &&
           head.framing == Framing::kNone && at_ == end_;
  }

 private:
  // A head of 16 KiB, a target of 8 KiB, and room for a body or the next request behind them.
  static constexpr std::size_t kBufferBytes = 32 * 1024;
  static constexpr std::uint64_t kShortAnswer = 16 * 1024;

  void begin_body(std::size_t head_bytes) noexcept;
  [[nodiscard]] Result<BodyPart> decode() noexcept;
  /// Reads more of the body behind what is there, for as long as it keeps pace, until `deadline`.
  [[nodiscard]] io::Task<Result<void>> receive_body(Instant deadline);
  void write_framing(class HeadWriter& out, const ResponseHead& head) noexcept;
  [[nodiscard]] io::Task<Result<void>> send(std::string_view head, BodyPart part);
  [[nodiscard]] io::Task<Result<void>> note_when_sent(io::Task<Result<void>> written,
                                                      std::size_t bytes, bool last);
  void note_sent(std::size_t bytes, bool last) noexcept;

  io::Stream* stream_ = nullptr;
  RequestParser parser_;
  LengthDecoder length_;
  StreamTunnelEnd tunnel_;
  std::size_t head_end_ = 0;  ///< body and what follows starts here
  std::size_t at_ = 0;        ///< first byte that is not decoded
  std::size_t end_ = 0;       ///< end of what was received
  std::uint64_t received_ = 0;
  std::uint64_t sent_ = 0;
  Instant body_since_{};
  bool body_done_ = true;
  bool close_ = false;
  bool chunked_out_ = false;
  bool bodiless_ = false;  ///< the response has no body on the wire (HEAD, 204, 304)
  bool head_sent_ = false;
  bool served_ = false;
  bool response_done_ = false;
  std::array<char, kBufferBytes> buffer_;
  ChunkedDecoder chunks_;  // few bodies are chunked
};

}  // namespace merlon::http
