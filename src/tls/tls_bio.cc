#include <openssl/bio.h>

#include <algorithm>
#include <cstring>

#include "tls/openssl_ptr.h"
#include "tls/tls_scratch.h"
#include "tls/tls_stream.h"

/// The transport under OpenSSL. It never makes OpenSSL wait for output and tells it of nothing but
/// bytes: the ends and errors of the socket are judged by the stream.
namespace merlon::tls {

namespace {
// More than any honest client sends, certificates included; OpenSSL alone would hold 128 KiB for
// one ClientHello.
constexpr std::uint32_t kServerHandshakeBytesMax = 64 * 1024;
constexpr std::uint32_t kClientHandshakeBytesMax = 256 * 1024;
// Answers that a peer provokes without reading them.
constexpr std::size_t kOutgoingMax = 256 * 1024;
// A peer changes keys every 2^24 records at most (RFC 8446 §5.5): more than this is an attack.
constexpr std::uint8_t kExtraMessagesMax = 64;

constexpr unsigned char kAlertRecord = 21;
constexpr unsigned char kHandshakeRecord = 22;
}  // namespace

TlsStream::Scratch& TlsStream::scratch() noexcept {
  thread_local const std::unique_ptr<Scratch> blocks{new Scratch};
  return *blocks;
}

bio_method_st* TlsStream::bio_method() noexcept {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "merlon socket");
    if (made == nullptr) return made;
    BIO_meth_set_read_ex(made, &TlsStream::bio_read);
    BIO_meth_set_write_ex(made, &TlsStream::bio_write);
    BIO_meth_set_ctrl(made, &TlsStream::bio_control);
    return made;
  }();
  return method;
}

long TlsStream::bio_control(bio_st*, int command, long, void*) noexcept {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

std::span<const char> TlsStream::ciphertext() const noexcept {
  if (held_from_ < held_.size()) return std::span(held_).subspan(held_from_);
  const Scratch& blocks = scratch();
  if (blocks.in_owner != this) return {};
  return std::span(blocks.in).subspan(blocks.in_from, blocks.in_to - blocks.in_from);
}

void TlsStream::consume(std::size_t n) noexcept {
  if (held_from_ < held_.size()) {
    held_from_ += n;
    if (held_from_ < held_.size()) return;
    std::string().swap(held_);
    held_from_ = 0;
    return;
  }
  Scratch& blocks = scratch();
  blocks.in_from += n;
  if (blocks.in_from == blocks.in_to) blocks.in_owner = nullptr;
}

/// Reads from the socket into the shared block; true when there is ciphertext then.
bool TlsStream::receive() noexcept {
  if (!raw_readable() || input_ended_ || input_code_ != 0) return false;
  Scratch& blocks = scratch();
  if (blocks.in_owner != nullptr) {
    // Its owner reads on later, from memory of its own.
    TlsStream& owner = *blocks.in_owner;
    owner.held_.assign(blocks.in.data() + blocks.in_from, blocks.in_to - blocks.in_from);
    owner.held_from_ = 0;
    blocks.in_owner = nullptr;
  }
  const io::Attempt got = raw_read(blocks.in);
  switch (got.status) {
    case io::Attempt::Status::kOk:
      blocks.in_owner = this;
      blocks.in_from = 0;
      blocks.in_to = got.n;
      return true;
    case io::Attempt::Status::kEnd:
      input_ended_ = true;
      return false;
    case io::Attempt::Status::kError:
      input_code_ = got.code;
      return false;
    case io::Attempt::Status::kWouldBlock:
      return false;
  }
  return false;
}

/// The first byte tells TLS from plain HTTP sent to the wrong port, and from an upstream that
/// speaks before TLS (CVE-2026-1642). 0 when it may be TLS.
std::uint16_t TlsStream::judge_first_byte(std::span<const char> bytes) const noexcept {
  const auto first = static_cast<unsigned char>(bytes[0]);
  if (first == kHandshakeRecord || first == kAlertRecord) return 0;
  // A ClientHello of SSL 2.0: two bytes of length with the highest bit set, then 1.
  const bool ssl2 = bytes.size() > 2 && (first & 0x80) != 0 && bytes[2] == 1;
  return ssl2 ? code::kTlsVersion : code::kTlsNotTls;
}

int TlsStream::bio_read(bio_st* bio, char* into, std::size_t size, std::size_t* got) noexcept {
  auto& stream = *static_cast<TlsStream*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  *got = 0;
  if (stream.extra_messages_ > kExtraMessagesMax)
    stream.refuse(code::kTlsProtocol, "too many messages that carry no data");
  if (stream.refusal_ != 0) return 0;
  if (stream.ciphertext().empty() && !stream.receive()) {
    BIO_set_retry_read(bio);
    return 0;
  }
  const std::span<const char> bytes = stream.ciphertext();
  if (!stream.established_) {
    if (stream.handshake_bytes_ == 0) {
      const std::uint16_t code = stream.judge_first_byte(bytes);
      if (code != 0) stream.refuse(code, code == code::kTlsVersion ? "SSL 2.0" : "not TLS");
    }
    if (stream.handshake_bytes_ >
        (stream.server_ ? kServerHandshakeBytesMax : kClientHandshakeBytesMax))
      stream.refuse(code::kTlsProtocol, "the handshake is too long");
    if (stream.refusal_ != 0) return 0;
  }
  const std::size_t n = std::min(size, bytes.size());
  std::memcpy(into, bytes.data(), n);
  stream.consume(n);
  if (!stream.established_) stream.handshake_bytes_ += static_cast<std::uint32_t>(n);
  *got = n;
  return 1;
}

int TlsStream::bio_write(bio_st* bio, const char* from, std::size_t size,
                         std::size_t* taken) noexcept {
  auto& stream = *static_cast<TlsStream*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  *taken = 0;
  if (stream.outgoing_.size() - stream.outgoing_from_ > kOutgoingMax) {
    stream.refuse(code::kTlsProtocol, "the peer does not read the answers it asks for");
    return 0;
  }
  stream.queue({from, size});
  *taken = size;
  return 1;
}

/// Takes ciphertext to send: into the shared block, or behind what waits for the kernel.
void TlsStream::queue(std::span<const char> bytes) noexcept {
  Scratch& blocks = scratch();
  if (outgoing_.empty() && blocks.out.size() - blocks.out_used < bytes.size()) flush();
  if (outgoing_.empty() && blocks.out.size() >= bytes.size()) {
    std::memcpy(blocks.out.data() + blocks.out_used, bytes.data(), bytes.size());
    blocks.out_used += bytes.size();
    return;
  }
  outgoing_.append(bytes.data(), bytes.size());
}

/// Keeps what was queued for the first answer, which the request that came with the end of the
/// handshake is about to get: in TLS 1.3 it is a session ticket, for which nobody waits.
void TlsStream::hold_ticket() noexcept {
  Scratch& blocks = scratch();
  outgoing_.assign(blocks.out.data(), blocks.out_used);
  blocks.out_used = 0;
  ticket_waits_ = !outgoing_.empty();
}

/// Sends what waits, as far as the kernel takes it. Leaves the shared block empty.
void TlsStream::flush() noexcept {
  Scratch& blocks = scratch();
  ticket_waits_ = false;
  const bool from_outgoing = !outgoing_.empty();
  std::span<const char> rest = from_outgoing
                                   ? std::span<const char>(outgoing_).subspan(outgoing_from_)
                                   : std::span<const char>(blocks.out).first(blocks.out_used);
  blocks.out_used = 0;
  while (!rest.empty() && output_code_ == 0) {
    const iovec piece{.iov_base = const_cast<char*>(rest.data()), .iov_len = rest.size()};
    const io::Attempt sent = raw_write({&piece, 1});
    if (sent.status == io::Attempt::Status::kWouldBlock) break;
    if (sent.status != io::Attempt::Status::kOk) {
      output_code_ = sent.code;
      break;
    }
    rest = rest.subspan(sent.n);
  }
  if (rest.empty() || output_code_ != 0) {
    if (from_outgoing) std::string().swap(outgoing_);
    outgoing_from_ = 0;
  } else if (from_outgoing) {
    outgoing_from_ = outgoing_.size() - rest.size();
  } else {
    outgoing_.assign(rest.data(), rest.size());
    outgoing_from_ = 0;
  }
}

}  // namespace merlon::tls
