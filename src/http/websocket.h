#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "http/message.h"

/// WebSocket as a gateway sees it (RFC 6455): the handshake, and where frames begin. No I/O.
namespace merlon::http {

/// RFC 6455 §4.1: 16 bytes in base64, which are 22 characters and "==".
[[nodiscard]] bool is_websocket_key(std::string_view key) noexcept;

/// A value of Sec-WebSocket-Accept or Sec-WebSocket-Key.
template <std::size_t kSize>
struct Base64Text {
  std::array<char, kSize> bytes{};
  [[nodiscard]] std::string_view view() const noexcept { return {bytes.data(), bytes.size()}; }
};
using WebSocketAccept = Base64Text<28>;
using WebSocketKey = Base64Text<24>;

/// What answers `key` (RFC 6455 §4.2.2). nullopt when the library has no SHA-1, which then opens no
/// tunnel.
[[nodiscard]] std::optional<WebSocketAccept> websocket_accept(std::string_view key) noexcept;
/// A new key. nullopt when there is no randomness.
[[nodiscard]] std::optional<WebSocketKey> make_websocket_key() noexcept;

/// What a client offers is well-formed: subprotocols are tokens and each comes once, extensions
/// begin with tokens; at most 32 of either (RFC 6455 §4.1).
[[nodiscard]] bool is_websocket_offer(const Fields& asked) noexcept;

/// Judges the upstream's 101 (RFC 6455 §4.1): `Upgrade: websocket`, the right accept value for
/// `key`, at most one subprotocol, and of subprotocols and extensions only such as `asked` offers.
/// Error: kUpstreamBadResponse.
[[nodiscard]] Result<void> judge_websocket_answer(const ResponseHead& answer, const Fields& asked,
                                                  std::string_view key) noexcept;

/// Follows the frames of one direction (RFC 6455 §5.2) without looking at what they carry, so that
/// what passes through a tunnel is WebSocket, and a frame of our own finds its place.
class WebSocketFrames {
 public:
  /// `from_client`: frames are masked. `extended`: an extension was agreed on, which may use the
  /// reserved bits of data frames.
  WebSocketFrames(bool from_client, bool extended) noexcept
      : from_client_(from_client), extended_(extended) {}

  /// Goes over the next bytes. False when they are no WebSocket: reserved bits or opcodes, a mask
  /// that is missing or too much, control frames that are long or in parts, a length not in its
  /// shortest form, a message inside another.
  [[nodiscard]] bool advance(std::string_view bytes) noexcept;
  /// Between two frames, and no Close has passed.
  [[nodiscard]] bool may_close() const noexcept {
    return size_ == 0 && payload_left_ == 0 && !closed_;
  }
  /// A Close has passed.
  [[nodiscard]] bool closed() const noexcept { return closed_; }

 private:
  [[nodiscard]] bool begin_frame() noexcept;
  [[nodiscard]] bool end_header() noexcept;

  std::uint64_t payload_left_ = 0;
  std::array<unsigned char, 14> header_{};
  std::uint8_t size_ = 0;  ///< of the header so far
  std::uint8_t need_ = 2;
  const bool from_client_;
  const bool extended_;
  bool in_message_ = false;
  bool closed_ = false;
};

/// Codes of a Close frame (RFC 6455 §7.4.1).
enum class WebSocketClose : std::uint16_t {
  kGoingAway = 1001,
  kProtocolError = 1002,
};
/// A Close frame; masked, with a mask of zeros, when it goes to a server.
struct CloseFrame {
  std::array<char, 8> bytes{};
  std::size_t size = 0;
  [[nodiscard]] std::string_view view() const noexcept { return {bytes.data(), size}; }
};
[[nodiscard]] CloseFrame make_close_frame(WebSocketClose code, bool to_server) noexcept;

}  // namespace merlon::http
