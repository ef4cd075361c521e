// WebSocket as it passes: frames in pieces, and what either side says in a handshake. The first
// byte chooses the direction and how the rest is cut; the same bytes are an offer and an answer.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "http/websocket.h"

namespace {

using namespace merlon::http;

void require(bool holds) {
  if (!holds) std::abort();
}

/// Pieces of any size are read as the whole is.
void follow(std::string_view data, bool from_client, bool extended, std::size_t piece) {
  WebSocketFrames whole(from_client, extended);
  WebSocketFrames cut(from_client, extended);
  const bool good = whole.advance(data);
  bool good_in_pieces = true;
  for (std::size_t at = 0; at < data.size() && good_in_pieces; at += piece)
    good_in_pieces = cut.advance(data.substr(at, piece));
  require(good == good_in_pieces);
  if (!good) return;
  require(whole.may_close() == cut.may_close() && whole.closed() == cut.closed());
  if (!whole.may_close()) return;
  // Where a frame may begin, one of ours fits.
  const CloseFrame close = make_close_frame(WebSocketClose::kGoingAway, from_client);
  require(whole.advance(close.view()) && whole.closed());
}

/// What was offered may be agreed on, and nothing else.
void shake_hands(std::string_view protocols, std::string_view extensions) {
  Fields asked;
  asked.add("Sec-WebSocket-Protocol", protocols);
  asked.add("Sec-WebSocket-Extensions", extensions);
  static_cast<void>(is_websocket_offer(asked));
  const std::string_view key = "dGhlIHNhbXBsZSBub25jZQ==";
  const auto accept = websocket_accept(key);
  require(accept.has_value());
  ResponseHead answer;
  answer.status = 101;
  answer.upgrade = "websocket";
  answer.fields.add("Sec-WebSocket-Accept", accept->view());
  answer.fields.add("Sec-WebSocket-Protocol", protocols);
  const bool one = protocols.find(',') == std::string_view::npos;
  if (judge_websocket_answer(answer, asked, key)) require(one);
  Fields nothing;
  require(!judge_websocket_answer(answer, nothing, key));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view data(reinterpret_cast<const char*>(bytes) + 1, size - 1);
  follow(data, (bytes[0] & 1U) != 0, (bytes[0] & 2U) != 0, std::max<std::size_t>(1, bytes[0] / 4U));
  const std::size_t half = std::min(data.find('\n'), data.size());
  shake_hands(data.substr(0, half), data.substr(std::min(half + 1, data.size())));
  return 0;
}
