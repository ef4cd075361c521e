#pragma once

#include <array>

#include "http/exchange.h"
#include "http/h1_body.h"
#include "http/h1_response_parser.h"
#include "http/h1_write_out.h"
#include "io/stream.h"

namespace merlon::http {

/// The client's side of HTTP/1.1: one request on one connection to an upstream. Large (about
/// 90 KiB): a worker keeps a pool of them.
class H1Client final : public ClientExchange {
 public:
  H1Client() = default;
  /// Begins an exchange on `stream`, which outlives it.
  /// `idle`: how long the upstream may take for one part of a body.
  void attach(io::Stream& stream, milliseconds idle = seconds{60}) noexcept;

  [[nodiscard]] io::Task<Result<void>> send_head(const RequestHead& head, std::string_view host,
                                                 BodyPart first, Instant deadline) override;
  [[nodiscard]] io::Task<Result<void>> send_body(BodyPart part) override;
  [[nodiscard]] io::Task<Result<ResponseHead*>> read_head(Instant deadline) override;
  [[nodiscard]] io::Task<Result<BodyPart>> read_body(milliseconds idle) override;
  [[nodiscard]] Result<BodyPart> buffered_body() noexcept override;
  [[nodiscard]] TunnelEnd* tunnel() noexcept override { return tunnelled_ ? &tunnel_ : nullptr; }
  void cancel_send() noexcept override { stream_->cancel_write(); }
  void cancel_read() noexcept override { stream_->cancel_read(); }
  void cancel() noexcept override { stream_->cancel(); }
  [[nodiscard]] bool response_started() const noexcept override { return end_ > 0 || interim_ > 0; }
  [[nodiscard]] bool reusable() const noexcept override;

 private:
  static constexpr std::size_t kBufferBytes = 80 * 1024;  // 64 KiB of content and its head at once
  // An upstream that sends interim responses without end would keep a request for ever.
  static constexpr unsigned kInterimMax = 8;

  [[nodiscard]] Result<BodyPart> decode() noexcept;
  [[nodiscard]] io::Task<Result<void>> send(std::string_view head, BodyPart part,
                                            WritePatience patience);
  [[nodiscard]] io::Task<Result<void>> note_when_sent(io::Task<Result<void>> written, bool last);
  void begin_body(std::size_t head_bytes) noexcept;
  [[nodiscard]] Error read_error(Error error) const noexcept;

  io::Stream* stream_ = nullptr;
  milliseconds idle_{};
  ResponseContext context_;
  ResponseParser parser_;
  LengthDecoder length_;
  StreamTunnelEnd tunnel_;
  std::size_t at_ = 0;
  std::size_t end_ = 0;
  unsigned interim_ = 0;
  bool chunked_out_ = false;
  bool tunnelled_ = false;  ///< a 101 came that was asked for
  bool request_done_ = false;
  bool head_done_ = false;
  bool body_done_ = false;
  std::array<char, kBufferBytes> buffer_;
  ChunkedDecoder chunks_{Blame::kUpstream};  // few bodies are chunked
};

}  // namespace merlon::http
