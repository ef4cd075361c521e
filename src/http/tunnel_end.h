#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/error.h"
#include "base/time.h"
#include "io/stream.h"
#include "io/task.h"

namespace merlon::http {

/// One end of a tunnel: bytes both ways, once a handshake has opened it (RFC 6455, RFC 8441). One
/// coroutine reads and one writes; each tries first and waits only when nothing moved, so that no
/// buffer is held while it waits.
class TunnelEnd {
 public:
  virtual ~TunnelEnd() = default;

  /// Takes what is there, up to `into`. Never waits.
  virtual io::Attempt try_read(std::span<char> into) noexcept = 0;
  /// Waits until try_read is worth it. kTimedOut, kCancelled, or what broke the connection.
  [[nodiscard]] virtual io::Task<Result<void>> wait_readable(Instant deadline) = 0;
  /// Sends what fits of `bytes`, which need not live longer. Never waits.
  virtual io::Attempt try_write(std::string_view bytes) noexcept = 0;
  /// Sends what try_write left, beginning with its first byte, for as long as the peer keeps pace.
  /// `bytes` stay valid until then.
  [[nodiscard]] virtual io::Task<Result<void>> write(std::string_view bytes) = 0;
  /// Nothing more is sent.
  virtual void finish_writing() noexcept = 0;
  /// False while this end itself holds some of what try_write took: whoever waits for something
  /// else then calls `settle` first, or nobody asks the peer to take it.
  [[nodiscard]] virtual bool settled() const noexcept { return true; }
  /// Waits until what try_write took has left, also after `finish_writing`, for as long as the peer
  /// keeps pace. `cancel_write` ends it.
  [[nodiscard]] virtual io::Task<Result<void>> settle() = 0;
  /// Ends a wait for reading, with kCancelled.
  virtual void cancel_read() noexcept = 0;
  /// Ends a wait for writing.
  virtual void cancel_write() noexcept = 0;
};

/// A tunnel over a stream of its own: HTTP/1.1 after 101. `begin` gives it the stream, and what of
/// the tunnel's bytes came behind the head; both outlive its use.
class StreamTunnelEnd final : public TunnelEnd {
 public:
  void begin(io::Stream& stream, std::string_view received) noexcept {
    stream_ = &stream;
    received_ = received;
    bytes_read_ = bytes_written_ = 0;
  }
  /// Forgets what an earlier tunnel moved.
  void reset() noexcept { bytes_read_ = bytes_written_ = 0; }

  io::Attempt try_read(std::span<char> into) noexcept override;
  io::Task<Result<void>> wait_readable(Instant deadline) override;
  io::Attempt try_write(std::string_view bytes) noexcept override;
  io::Task<Result<void>> write(std::string_view bytes) override;
  void finish_writing() noexcept override { stream_->finish_writing(); }
  io::Task<Result<void>> settle() override;
  void cancel_read() noexcept override { stream_->cancel_read(); }
  void cancel_write() noexcept override { stream_->cancel_write(); }

  [[nodiscard]] std::uint64_t bytes_read() const noexcept { return bytes_read_; }
  [[nodiscard]] std::uint64_t bytes_written() const noexcept { return bytes_written_; }

 private:
  io::Stream* stream_ = nullptr;
  std::string_view received_;
  std::uint64_t bytes_read_ = 0;
  std::uint64_t bytes_written_ = 0;
};

}  // namespace merlon::http
