#include "http/websocket.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>

#include "base/ascii.h"

namespace merlon::http {
namespace {

// Appended to a key before it is hashed (RFC 6455 §1.3).
constexpr std::string_view kGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
// More subprotocols or extensions than any client has; comparing them stays cheap.
constexpr std::size_t kOffersMax = 32;

constexpr unsigned kOpContinuation = 0x0;
constexpr unsigned kOpBinary = 0x2;
constexpr unsigned kOpClose = 0x8;
constexpr unsigned kOpPong = 0xa;

/// The items of a comma-separated list, over all lines of a field. `ok` is false once one is empty
/// or there are too many.
struct Items {
  std::array<std::string_view, kOffersMax> all{};
  std::size_t count = 0;
  bool ok = true;

  Items(const Fields& fields, FieldId id) noexcept {
    if (!fields.contains(id)) return;
    for (const Field& field : fields) {
      if (field.id == id) add_line(field.value);
    }
  }
  [[nodiscard]] const std::string_view* begin() const noexcept { return all.data(); }
  [[nodiscard]] const std::string_view* end() const noexcept { return all.data() + count; }
  [[nodiscard]] bool has(std::string_view item) const noexcept {
    return std::find(begin(), end(), item) != end();
  }

 private:
  void add_line(std::string_view line) noexcept {
    for (;;) {
      const std::size_t comma = line.find(',');
      const std::string_view item = ascii::trim_ows(line.substr(0, comma));
      if (item.empty() || count == kOffersMax) {
        ok = false;
        return;
      }
      all[count++] = item;
      if (comma == std::string_view::npos) return;
      line.remove_prefix(comma + 1);
    }
  }
};

/// "permessage-deflate; client_max_window_bits": what stands before the parameters.
std::string_view extension_name(std::string_view item) noexcept {
  return ascii::trim_ows(item.substr(0, item.find(';')));
}

/// A parameter behind a `;` (RFC 6455 §9.1): quoted or not, its value is a token.
bool is_extension_parameter(std::string_view text) noexcept {
  const std::size_t equals = text.find('=');
  if (!ascii::is_token(text.substr(0, equals))) return false;
  if (equals == std::string_view::npos) return true;
  std::string_view value = text.substr(equals + 1);
  if (value.size() >= 2 && value.front() == '"' && value.back() == '"')
    value = value.substr(1, value.size() - 2);
  return ascii::is_token(value);
}

bool is_extension(std::string_view item) noexcept {
  if (!ascii::is_token(extension_name(item))) return false;
  for (std::size_t at = item.find(';'); at != std::string_view::npos;) {
    const std::size_t next = item.find(';', at + 1);
    const std::string_view parameter = item.substr(at + 1, std::min(next, item.size()) - at - 1);
    if (!is_extension_parameter(ascii::trim_ows(parameter))) return false;
    at = next;
  }
  return true;
}

bool offers_extension(const Items& offered, std::string_view name) noexcept {
  return std::any_of(offered.begin(), offered.end(), [&](std::string_view item) {
    return ascii::iequals(extension_name(item), name);
  });
}

bool all_different(const Items& items, std::string_view (*name)(std::string_view)) noexcept {
  for (std::size_t i = 0; i < items.count; ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (name(items.all[i]) == name(items.all[j])) return false;
    }
  }
  return true;
}

std::string_view whole(std::string_view item) noexcept { return item; }

}  // namespace

bool is_websocket_key(std::string_view key) noexcept {
  constexpr ascii::CharSet kBase64 =
      ascii::CharSet("+/").add_range('0', '9').add_range('a', 'z').add_range('A', 'Z');
  return key.size() == 24 && key.ends_with("==") && kBase64.contains_all(key.substr(0, 22));
}

std::optional<WebSocketAccept> websocket_accept(std::string_view key) noexcept {
  std::array<char, 24 + kGuid.size()> text{};
  if (key.size() != 24) return std::nullopt;
  key.copy(text.data(), 24);
  kGuid.copy(text.data() + 24, kGuid.size());
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha1(), nullptr) != 1 ||
      size != 20)
    return std::nullopt;
  std::array<unsigned char, 29> coded{};  // EVP_EncodeBlock ends with NUL
  EVP_EncodeBlock(coded.data(), digest.data(), static_cast<int>(size));
  WebSocketAccept accept;
  std::copy_n(coded.begin(), accept.bytes.size(), accept.bytes.begin());
  return accept;
}

std::optional<WebSocketKey> make_websocket_key() noexcept {
  std::array<unsigned char, 16> random{};
  if (RAND_bytes(random.data(), static_cast<int>(random.size())) != 1) return std::nullopt;
  std::array<unsigned char, 25> coded{};
  EVP_EncodeBlock(coded.data(), random.data(), static_cast<int>(random.size()));
  WebSocketKey key;
  std::copy_n(coded.begin(), key.bytes.size(), key.bytes.begin());
  return key;
}

bool is_websocket_offer(const Fields& asked) noexcept {
  const Items protocols(asked, FieldId::kSecWebSocketProtocol);
  const Items extensions(asked, FieldId::kSecWebSocketExtensions);
  return protocols.ok && extensions.ok && all_different(protocols, &whole) &&
         std::all_of(protocols.begin(), protocols.end(), ascii::is_token) &&
         std::all_of(extensions.begin(), extensions.end(), is_extension);
}

Result<void> judge_websocket_answer(const ResponseHead& answer, const Fields& asked,
                                    std::string_view key) noexcept {
  const auto bad = [](const char* what) {
    return fail(code::kUpstreamBadResponse, Blame::kUpstream, what);
  };
  if (!ascii::iequals(answer.upgrade, "websocket"))
    return bad("101 to a protocol that was not asked for");
  const std::optional<WebSocketAccept> accept = websocket_accept(key);
  if (!accept || answer.fields.value(FieldId::kSecWebSocketAccept) != accept->view())
    return bad("101 with a wrong Sec-WebSocket-Accept");
  const Items chosen(answer.fields, FieldId::kSecWebSocketProtocol);
  const Items protocols(asked, FieldId::kSecWebSocketProtocol);
  if (!chosen.ok || chosen.count > 1 || (chosen.count == 1 && !protocols.has(chosen.all[0])))
    return bad("101 with a subprotocol that was not offered");
  const Items used(answer.fields, FieldId::kSecWebSocketExtensions);
  const Items extensions(asked, FieldId::kSecWebSocketExtensions);
  const bool offered = std::all_of(used.begin(), used.end(), [&](std::string_view item) {
    return is_extension(item) && offers_extension(extensions, extension_name(item));
  });
  if (!used.ok || !offered || !all_different(used, &extension_name))
    return bad("101 with an extension that was not offered");
  return {};
}

bool WebSocketFrames::begin_frame() noexcept {
  const unsigned first = header_[0];
  const unsigned second = header_[1];
  const bool final = (first & 0x80U) != 0;
  const unsigned reserved = first & 0x70U;
  const unsigned opcode = first & 0x0fU;
  const unsigned length = second & 0x7fU;
  const bool masked = (second & 0x80U) != 0;
  if (masked != from_client_) return false;
  if (opcode >= kOpClose) {
    if (!final || length > 125 || reserved != 0 || opcode > kOpPong) return false;
    closed_ = closed_ || opcode == kOpClose;
  } else {
    if (opcode > kOpBinary || (reserved != 0 && !extended_)) return false;
    if ((opcode == kOpContinuation) != in_message_) return false;
    in_message_ = !final;
  }
  const unsigned length_bytes = length == 126 ? 2 : length == 127 ? 8 : 0;
  need_ = static_cast<std::uint8_t>(2 + length_bytes + (masked ? 4 : 0));
  return true;
}

bool WebSocketFrames::end_header() noexcept {
  const unsigned length = header_[1] & 0x7fU;
  const std::size_t bytes = length == 126 ? 2 : length == 127 ? 8 : 0;
  payload_left_ = bytes == 0 ? length : 0;
  for (std::size_t i = 0; i < bytes; ++i) payload_left_ = payload_left_ << 8U | header_[2 + i];
  size_ = 0;
  need_ = 2;
  if (bytes == 2) return payload_left_ > 125;
  return bytes == 0 || (payload_left_ > 0xffff && payload_left_ >> 63U == 0);
}

bool WebSocketFrames::advance(std::string_view bytes) noexcept {
  while (!bytes.empty()) {
    if (payload_left_ > 0) {
      const std::size_t n =
          payload_left_ < bytes.size() ? static_cast<std::size_t>(payload_left_) : bytes.size();
      payload_left_ -= n;
      bytes.remove_prefix(n);
      continue;
    }
    header_[size_++] = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    if (size_ == 2 && !begin_frame()) return false;
    if (size_ == need_ && !end_header()) return false;
  }
  return true;
}

CloseFrame make_close_frame(WebSocketClose code, bool to_server) noexcept {
  CloseFrame frame;
  const auto put = [&](unsigned byte) { frame.bytes[frame.size++] = static_cast<char>(byte); };
  put(0x80U | kOpClose);
  put(to_server ? 0x82U : 0x02U);
  if (to_server) {
    for (int i = 0; i < 4; ++i) put(0);
  }
  put(static_cast<unsigned>(code) >> 8U);
  put(static_cast<unsigned>(code) & 0xffU);
  return frame;
}

}  // namespace merlon::http
