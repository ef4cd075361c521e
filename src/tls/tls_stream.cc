#include "tls/tls_stream.h"

#include <openssl/err.h>

#include <algorithm>
#include <cstring>

#include "tls/context_setup.h"
#include "tls/openssl_ptr.h"
#include "tls/tls_scratch.h"

namespace merlon::tls {

using io::Attempt;

TlsStream::TlsStream(io::Loop& loop, io::Fd fd, std::shared_ptr<const ServerContext> context,
                     std::optional<Endpoint> local) noexcept
    : SocketStream(loop, std::move(fd)),
      server_(std::move(context)),
      local_(local),
      batch_bytes_(Scratch::kRecord) {}

TlsStream::TlsStream(io::Loop& loop, io::Fd fd, std::shared_ptr<ClientContext> context,
                     bool connecting) noexcept
    : SocketStream(loop, std::move(fd), connecting),
      client_(std::move(context)),
      batch_bytes_(Scratch::kRecord) {}

TlsStream::~TlsStream() {
  Scratch& blocks = scratch();
  if (blocks.in_owner == this) blocks.in_owner = nullptr;
  if (ssl_ == nullptr) return;
  // Without this, OpenSSL would call the session of a connection that was just closed unfit for
  // resumption, which TLS 1.1 gave up (RFC 4346 §7.2.1).
  if (!broken_) SSL_set_shutdown(ssl_, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_free(ssl_);
}

bool TlsStream::readable() const noexcept {
  if (closed_by_peer_ || broken_ || input_code_ != 0 || input_ended_) return true;
  if (raw_readable() || !ciphertext().empty()) return true;
  return ssl_ != nullptr && SSL_pending(ssl_) > 0;
}

/// Why reading cannot go on, 0 when it only has to wait.
std::uint16_t TlsStream::input_failure() const noexcept {
  if (refusal_ != 0) return refusal_;
  if (broken_) return alert_ != 0 ? code_of_alert(alert_) : code::kTlsProtocol;
  return input_code_;
}

Attempt TlsStream::read_outcome(int result) noexcept {
  const int error = SSL_get_error(ssl_, result);
  if (error == SSL_ERROR_ZERO_RETURN) closed_by_peer_ = true;
  if (error == SSL_ERROR_SSL || error == SSL_ERROR_SYSCALL) broken_ = true;
  if (closed_by_peer_) return Attempt::end();
  if (const std::uint16_t code = input_failure(); code != 0) return Attempt::error(code);
  if (!input_ended_) return Attempt::would_block();
  return Attempt::error(code::kTlsTruncated);
}

Attempt TlsStream::try_read(std::span<char> into) noexcept {
  if (!established_) return Attempt::error(code::kIo);
  if (closed_by_peer_) return Attempt::end();
  if (broken_) return Attempt::error(input_failure());
  std::size_t n = 0;
  Attempt outcome = Attempt::would_block();
  while (n < into.size()) {
    ERR_clear_error();
    std::size_t got = 0;
    const int result = SSL_read_ex(ssl_, into.data() + n, into.size() - n, &got);
    if (result != 1) {
      outcome = read_outcome(result);
      break;
    }
    n += got;
    if (SSL_pending(ssl_) == 0 && ciphertext().empty()) break;
  }
  if (!ticket_waits_ || broken_) flush();
  // What ended the loop is found again by the next call.
  return n > 0 ? Attempt::moved(n) : outcome;
}

namespace {

/// Goes over pieces of memory record by record.
class Records {
 public:
  explicit Records(std::span<const iovec> pieces) noexcept : pieces_(pieces) { skip_empty(); }

  [[nodiscard]] bool done() const noexcept { return pieces_.empty(); }
  /// The next bytes for one record: in place when one piece fills it or is the last, otherwise
  /// gathered in `block`.
  std::span<const char> next(std::span<char> block) noexcept {
    const std::span<const char> first = front();
    if (first.size() >= block.size() || pieces_.size() == 1)
      return take(std::min(first.size(), block.size()));
    std::size_t n = 0;
    while (!done() && n < block.size()) {
      const std::span<const char> part = take(std::min(front().size(), block.size() - n));
      std::memcpy(block.data() + n, part.data(), part.size());
      n += part.size();
    }
    return block.first(n);
  }

 private:
  [[nodiscard]] std::span<const char> front() const noexcept {
    return std::span(static_cast<const char*>(pieces_[0].iov_base), pieces_[0].iov_len)
        .subspan(from_);
  }
  std::span<const char> take(std::size_t n) noexcept {
    const std::span<const char> taken = front().first(n);
    from_ += n;
    skip_empty();
    return taken;
  }
  void skip_empty() noexcept {
    while (!pieces_.empty() && from_ == pieces_[0].iov_len) {
      pieces_ = pieces_.subspan(1);
      from_ = 0;
    }
  }

  std::span<const iovec> pieces_;
  std::size_t from_ = 0;
};

std::size_t bytes_of(std::span<const iovec> pieces) noexcept {
  std::size_t total = 0;
  for (const iovec& piece : pieces) total += piece.iov_len;
  return total;
}

}  // namespace

/// Encrypts up to `batch_bytes_` of the pieces; the number of bytes taken, 0 when OpenSSL failed.
std::size_t TlsStream::encrypt(std::span<const iovec> pieces) noexcept {
  std::size_t total = 0;
  for (Records records(pieces); !records.done() && total < batch_bytes_;) {
    const std::span<const char> record = records.next(scratch().gather);
    std::size_t taken = 0;
    ERR_clear_error();
    if (SSL_write_ex(ssl_, record.data(), record.size(), &taken) != 1) {
      broken_ = true;
      return 0;
    }
    total += record.size();
  }
  return total;
}

Attempt TlsStream::try_write(std::span<const iovec> pieces) noexcept {
  if (!established_) return Attempt::error(code::kIo);
  if (finishing_) return Attempt::error(code::kBrokenPipe);
  if (!outgoing_.empty() && !ticket_waits_) flush();
  if (output_code_ != 0) return Attempt::error(output_code_);
  if (!outgoing_.empty() && !ticket_waits_) return Attempt::would_block();
  if (accepted_ == 0) {
    if (broken_) return Attempt::error(code::kTlsProtocol);
    if (!raw_writable()) return held_back();
    accepted_ = encrypt(pieces);
    if (broken_) {
      flush();  // what stays in the block of the thread would go to another peer
      return Attempt::error(code::kTlsProtocol);
    }
    if (ends_with_write_ && accepted_ == bytes_of(pieces)) notify_close();
    flush();
    if (output_code_ != 0) return Attempt::error(output_code_);
    if (!outgoing_.empty()) {
      // A slow reader: the next batch is small, so that little memory waits for it.
      batch_bytes_ = Scratch::kRecord;
      return Attempt::would_block();
    }
    batch_bytes_ = std::min(2 * batch_bytes_, Scratch::kBatchMax);
  }
  return Attempt::moved(std::exchange(accepted_, 0));
}

void TlsStream::finish_socket() noexcept {
  finished_ = true;
  SocketStream::finish_writing();
}

void TlsStream::notify_close() noexcept {
  if (close_notified_ || !established_ || broken_) return;
  close_notified_ = true;
  ERR_clear_error();
  static_cast<void>(SSL_shutdown(ssl_));
}

void TlsStream::finish_with_write() noexcept {
  ends_with_write_ = true;
  SocketStream::finish_with_write();
}

bool TlsStream::finish_by_closing() noexcept {
  notify_close();
  flush();
  return outgoing_.empty() && output_code_ == 0 && hand_over();
}

void TlsStream::finish_writing() noexcept {
  if (finishing_) return;
  finishing_ = true;
  notify_close();
  flush();
  if (outgoing_.empty()) finish_socket();
}

void TlsStream::release_idle_memory() noexcept {
  if (ssl_ != nullptr) static_cast<void>(SSL_free_buffers(ssl_));
}

void TlsStream::on_ready(bool readable, bool writable) noexcept {
  if (writable && !outgoing_.empty()) {
    flush();
    if (finishing_ && !finished_ && outgoing_.empty()) finish_socket();
  }
  // Neither side ever waits for the other's readiness: the transport takes all output at once.
  wake(readable, writable);
}

bool TlsStream::ReadBefore::attempt() noexcept {
  if (tls_.ssl_ != nullptr) {
    code_ = code::kIo;
    return true;
  }
  if (!tls_.raw_readable()) return false;
  const Attempt got = tls_.raw_read(into_);
  if (got.status == Attempt::Status::kWouldBlock) return false;
  if (got.status == Attempt::Status::kError) code_ = got.code;
  n_ = got.n;
  return true;
}

void TlsStream::unread(std::span<const char> bytes) {
  if (!bytes.empty()) held_.append(bytes.data(), bytes.size());
}

const char* TlsStream::version() const noexcept {
  return ssl_ == nullptr ? "" : SSL_get_version(ssl_);
}

const char* TlsStream::cipher() const noexcept {
  return ssl_ == nullptr ? "" : SSL_get_cipher_name(ssl_);
}

std::string_view TlsStream::alpn() const noexcept {
  if (ssl_ == nullptr) return {};
  const unsigned char* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl_, &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

bool TlsStream::covers(std::string_view host) const noexcept {
  return site_ != nullptr && server_->covers(*site_, host);
}

bool TlsStream::was_asked_as_by(const ServerContext& now, std::string_view host) const {
  if (site_ == nullptr || &now == server_.get()) return true;
  const ServerContext::Site* const site = now.find(host);
  return ask_the_same(site_->client_auth, site == nullptr ? nullptr : site->client_auth);
}

bool TlsStream::was_asked_as_by(const ServerContext& now) const {
  if (!server_name_.empty()) return was_asked_as_by(now, server_name_);
  return !local_ || was_asked_as_by(now, local_->address.to_string());
}

bool TlsStream::is_permitted_by(const ServerContext& now) const noexcept {
  const SSL_CIPHER* const suite = ssl_ == nullptr ? nullptr : SSL_get_current_cipher(ssl_);
  if (suite == nullptr || &now == server_.get()) return true;
  const ServerSettings& rules = now.settings();
  if (rules.min_version == MinVersion::kTls13 && SSL_version(ssl_) < TLS1_3_VERSION) return false;
  return rules.allow_aes128 || SSL_CIPHER_get_bits(suite, nullptr) > 128;
}

bool TlsStream::resumed() const noexcept {
  return ssl_ != nullptr && SSL_session_reused(ssl_) == 1;
}

bool TlsStream::has_unexpected_input() noexcept {
  if (!established_ || !readable()) return !established_;
  char byte = 0;
  std::size_t got = 0;
  ERR_clear_error();
  const int result = SSL_peek_ex(ssl_, &byte, 1, &got);
  flush();
  return result == 1 || read_outcome(result).status != Attempt::Status::kWouldBlock;
}

io::Task<Result<std::unique_ptr<TlsStream>>> connect_tls(io::Loop& loop, io::Broker& broker,
                                                         Endpoint endpoint,
                                                         std::shared_ptr<ClientContext> context,
                                                         Instant deadline,
                                                         io::ConnectCancel* cancel) {
  const auto failed = [](std::uint16_t code, const char* what) {
    return std::unexpected(
        Error{.code = code, .blame = Blame::kUpstream, .retryable = true, .what = what});
  };
  io::OsResult<io::Fd> fd = broker.connect_tcp(endpoint);
  if (!fd) co_return failed(io::code_of_errno(fd.error().number), "connecting failed");
  auto stream = std::make_unique<TlsStream>(loop, std::move(*fd), std::move(context), true);
  if (!stream->attached()) co_return failed(code::kResources, "connecting failed");
  const io::ConnectCancel::Scope scope(cancel, *stream);
  Result<void> connected = co_await stream->connected(deadline);
  if (!connected) co_return failed(connected.error().code, "connecting failed");
  Result<void> shaken = co_await stream->handshake(deadline);
  if (!shaken) co_return std::unexpected(shaken.error());
  co_return stream;
}

}  // namespace merlon::tls
