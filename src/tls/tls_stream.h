#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/ip.h"
#include "io/socket.h"
#include "io/task.h"
#include "tls/client_context.h"
#include "tls/server_context.h"

struct ssl_st;
struct bio_st;
struct bio_method_st;

namespace merlon::tls {

/// What a client offered, for the log line of a handshake that failed. All of it is the peer's:
/// escape the name.
struct ClientOffer {
  std::string server_name;                  ///< at most 255 bytes, as sent; "" when none was
  std::array<std::uint16_t, 8> versions{};  ///< 0x0304 is TLS 1.3 (RFC 8446 §4.2.1)
  std::uint8_t version_count = 0;
  std::array<std::uint16_t, 32> suites{};  ///< by IANA number, the first ones
  std::uint8_t suite_count = 0;            ///< of those kept
  std::uint16_t suites_offered = 0;        ///< of all
};

/// Why a handshake failed.
struct HandshakeFailure {
  const char* reason = "";  ///< static text
  std::uint8_t alert = 0;   ///< the alert received (RFC 8446 §6), 0 for none
  const ClientOffer* offer =
      nullptr;  ///< server side, once a ClientHello came; lives with the stream
};

/// TLS over a TCP connection (RFC 8446, RFC 5246). Call `handshake` first; nothing is read or
/// written before it succeeded.
///
/// One system call per direction and turn: ciphertext goes through two blocks that the streams of a
/// thread share, so an idle connection holds no buffer. No renegotiation, compression or early
/// data. The end of the stream without close_notify is the error kTlsTruncated: only the framing
/// above knows whether that matters. A `try_write` that gave kWouldBlock has taken the bytes: the
/// next one must begin with the same (`Stream::write` does). So of a write that succeeded no byte
/// waits here, but for what the socket may hold until the turn ends (`Stream::try_write`).
class TlsStream final : public io::SocketStream {
 public:
  /// Server side. `local` is where the client connected to, asked of the socket when absent; it
  /// chooses the certificate for clients that send no name.
  TlsStream(io::Loop& loop, io::Fd fd, std::shared_ptr<const ServerContext> context,
            std::optional<Endpoint> local = {}) noexcept;
  /// Client side. `connecting`: await `connected` before `handshake`.
  TlsStream(io::Loop& loop, io::Fd fd, std::shared_ptr<ClientContext> context,
            bool connecting = false) noexcept;
  ~TlsStream() override;

  io::Attempt try_read(std::span<char> into) noexcept override;
  io::Attempt try_write(std::span<const iovec> pieces) noexcept override;
  [[nodiscard]] bool readable() const noexcept override;
  /// close_notify and FIN, after what is still to be sent.
  void finish_writing() noexcept override;
  /// close_notify then goes into the same write as the bytes.
  void finish_with_write() noexcept override;
  bool finish_by_closing() noexcept override;
  void release_idle_memory() noexcept override;

  class Handshake final : public Operation {
   public:
    Handshake(TlsStream& stream, Instant deadline) noexcept
        : Operation(stream, Side::kRead, deadline), tls_(stream) {}
    /// kTlsNoSharedCipher, kTlsVersion, kTlsUnknownName, kTlsNotTls, kTlsPeerCertificate,
    /// kTlsAlert, kTlsAlpn, kTlsProtocol, kTlsHandshake, kClosed, kReset, kTimedOut, kCancelled,
    /// kResources.
    [[nodiscard]] Result<void> await_resume() noexcept;

   private:
    bool attempt() noexcept override;
    TlsStream& tls_;
  };
  /// Shakes hands. After a failure `failure()` tells more, and the stream is only good to be
  /// closed.
  [[nodiscard]] Handshake handshake(Instant deadline) noexcept { return {*this, deadline}; }
  [[nodiscard]] HandshakeFailure failure() const noexcept;

  /// Bytes that come before TLS on the same connection: the PROXY protocol. Waits for at least one
  /// byte; 0 when the peer has finished sending. Only before `handshake`.
  class ReadBefore final : public Operation {
   public:
    ReadBefore(TlsStream& stream, std::span<char> into, Instant deadline) noexcept
        : Operation(stream, Side::kRead, deadline), tls_(stream), into_(into) {}
    [[nodiscard]] Result<std::size_t> await_resume() const noexcept {
      if (code_ != 0) return Operation::failure();
      return n_;
    }

   private:
    bool attempt() noexcept override;
    TlsStream& tls_;
    std::span<char> into_;
    std::size_t n_ = 0;
  };
  [[nodiscard]] ReadBefore read_before_tls(std::span<char> into, Instant deadline) noexcept {
    return {*this, into, deadline};
  }
  /// Gives back what `read_before_tls` read too much: the handshake begins with it.
  void unread(std::span<const char> bytes);
  /// Where the client connected to, as its proxy says. Only before `handshake`.
  void set_local(const Endpoint& local) noexcept { local_ = local; }

  // ---- After the handshake. ----

  /// Server side: the name that the client asked for, lower case; "" when it sent none.
  [[nodiscard]] const std::string& server_name() const noexcept { return server_name_; }
  /// "TLSv1.3" or "TLSv1.2". Static.
  [[nodiscard]] const char* version() const noexcept;
  /// OpenSSL's name of the suite. Static.
  [[nodiscard]] const char* cipher() const noexcept;
  /// The suite's cipher has keys of 128 bits.
  [[nodiscard]] bool aes128() const noexcept {
    return std::string_view(cipher()).find("128") != std::string_view::npos;
  }
  /// The agreed protocol, "http/1.1" or "h2"; "" when none was. Lives with the stream.
  [[nodiscard]] std::string_view alpn() const noexcept;
  /// Server side: whether the presented certificate is good for `host` (see
  /// CertificateNames::covers): when it is not, a request for that host is misdirected (421).
  [[nodiscard]] bool covers(std::string_view host) const noexcept;
  /// Server side: whether `now`, the context that is in force, asks of the clients of `host` what
  /// this connection was asked for; of the name that it asked for itself without a host.
  [[nodiscard]] bool was_asked_as_by(const ServerContext& now, std::string_view host) const;
  [[nodiscard]] bool was_asked_as_by(const ServerContext& now) const;
  /// Server side: whether `now` would still agree on the version and the suite of this connection.
  [[nodiscard]] bool is_permitted_by(const ServerContext& now) const noexcept;
  [[nodiscard]] bool resumed() const noexcept;
  /// Server side: the certificate that the client presented and that was verified; nullptr when
  /// there is none. Lives with the stream.
  [[nodiscard]] const ClientCertificate* client_certificate() const noexcept {
    return client_certificate_.get();
  }
  /// True for an idle connection that the peer closed, or on which it sent something nobody asked
  /// for. Takes in session tickets, which are neither.
  [[nodiscard]] bool has_unexpected_input() noexcept;

 private:
  struct Scratch;
  friend struct Callbacks;

  static Scratch& scratch() noexcept;
  void on_ready(bool readable, bool writable) noexcept override;

  // The transport as OpenSSL sees it (tls_bio.cc).
  static bio_method_st* bio_method() noexcept;
  static int bio_read(bio_st* bio, char* into, std::size_t size, std::size_t* got) noexcept;
  static int bio_write(bio_st* bio, const char* from, std::size_t size,
                       std::size_t* taken) noexcept;
  static long bio_control(bio_st* bio, int command, long, void*) noexcept;
  [[nodiscard]] std::span<const char> ciphertext() const noexcept;
  void consume(std::size_t n) noexcept;
  bool receive() noexcept;
  [[nodiscard]] std::uint16_t judge_first_byte(std::span<const char> bytes) const noexcept;
  void queue(std::span<const char> bytes) noexcept;
  void hold_ticket() noexcept;
  void flush() noexcept;

  [[nodiscard]] bool start() noexcept;
  std::uint16_t try_handshake() noexcept;
  std::uint16_t classify_failure() noexcept;
  bool choose_site(int* alert) noexcept;
  bool enter_site() noexcept;
  bool take_client_certificate() noexcept;
  bool refuse(std::uint16_t code, const char* reason) noexcept;
  [[nodiscard]] io::Attempt read_outcome(int result) noexcept;
  [[nodiscard]] std::uint16_t input_failure() const noexcept;
  [[nodiscard]] std::size_t encrypt(std::span<const iovec> pieces) noexcept;
  void notify_close() noexcept;
  void finish_socket() noexcept;

  std::shared_ptr<const ServerContext> server_;
  std::shared_ptr<ClientContext> client_;
  std::optional<Endpoint> local_;
  ssl_st* ssl_ = nullptr;
  const ServerContext::Site* site_ = nullptr;
  std::string server_name_;
  std::string held_;      ///< ciphertext received and not yet taken by OpenSSL
  std::string outgoing_;  ///< ciphertext that the kernel had no room for
  std::size_t held_from_ = 0;
  std::size_t outgoing_from_ = 0;
  std::size_t accepted_ = 0;  ///< bytes encrypted and not yet reported as written
  std::size_t batch_bytes_;   ///< how much one write encrypts
  std::unique_ptr<ClientOffer> offer_;
  std::unique_ptr<const ClientCertificate> client_certificate_;
  const char* reason_ = "";
  std::uint32_t handshake_bytes_ = 0;
  std::uint16_t input_code_ = 0;   ///< the transport's failure when reading
  std::uint16_t output_code_ = 0;  ///< … when writing
  std::uint16_t refusal_ = 0;      ///< why we ended it ourselves
  std::uint8_t alert_ = 0;
  std::uint8_t extra_messages_ = 0;  ///< after the handshake: KeyUpdate and the like
  bool established_ = false;
  bool input_ended_ = false;     ///< the peer's FIN came
  bool closed_by_peer_ = false;  ///< the peer's close_notify came
  bool broken_ = false;          ///< OpenSSL has given up
  bool ticket_waits_ = false;    ///< `outgoing_` is a ticket, to go out with the first answer
  bool ends_with_write_ = false;
  bool close_notified_ = false;
  bool finishing_ = false;
  bool finished_ = false;
};

/// Connects, shakes hands and verifies, all before `deadline`. Errors are blamed on the upstream
/// and retryable: those of io::connect and of TlsStream::handshake.
io::Task<Result<std::unique_ptr<TlsStream>>> connect_tls(io::Loop& loop, io::Broker& broker,
                                                         Endpoint endpoint,
                                                         std::shared_ptr<ClientContext> context,
                                                         Instant deadline,
                                                         io::ConnectCancel* cancel = nullptr);

}  // namespace merlon::tls
