#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdlib>
#include <functional>
#include <string>
#include <utility>

#include "io/loop.h"
#include "io/task.h"
#include "tls/openssl_ptr.h"
#include "tls/tls_stream.h"

/// Connections over loopback and a peer that does what TlsStream would not, for tests and
/// benchmarks.
namespace merlon::tls::test {

inline void must(bool held) {
  if (!held) std::abort();
}

/// Both ends of a TCP connection over 127.0.0.1, non-blocking: first the accepted one.
inline std::pair<io::Fd, io::Fd> tcp_pair() {
  const io::Fd listener(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  must(::bind(listener.get(), generic, size) == 0);
  must(::listen(listener.get(), 1) == 0);
  must(::getsockname(listener.get(), generic, &size) == 0);
  io::Fd client(::socket(AF_INET, SOCK_STREAM, 0));
  must(::connect(client.get(), generic, size) == 0);
  io::Fd accepted(::accept(listener.get(), nullptr, nullptr));
  const int on = 1;
  for (const io::Fd* fd : {&client, &accepted}) {
    must(::fcntl(fd->get(), F_SETFL, O_NONBLOCK) == 0);
    must(::setsockopt(fd->get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
  }
  return {std::move(accepted), std::move(client)};
}

inline io::Task<void> shake(TlsStream& stream, Instant deadline, Result<void>& outcome) {
  outcome = co_await stream.handshake(deadline);
}

/// A client, or a server when given its context, whose bytes pass through the test's hands.
class RawPeer {
 public:
  RawPeer(io::Loop& loop, io::Fd fd) : loop_(loop), fd_(std::move(fd)) {
    context_.reset(SSL_CTX_new(TLS_client_method()));
    SSL_CTX_set_security_level(context_.get(), 0);
  }
  RawPeer(io::Loop& loop, io::Fd fd, SslCtxPtr server_context)
      : loop_(loop), fd_(std::move(fd)), context_(std::move(server_context)), server_(true) {}
  SSL_CTX* context() { return context_.get(); }
  SSL* ssl() {
    if (ssl_ == nullptr) {
      ssl_.reset(SSL_new(context_.get()));
      SSL_set_bio(ssl_.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
      if (server_)
        SSL_set_accept_state(ssl_.get());
      else
        SSL_set_connect_state(ssl_.get());
    }
    return ssl_.get();
  }
  void name(const char* host) { SSL_set_tlsext_host_name(ssl(), host); }

  /// What OpenSSL wants to send.
  std::string take_output() {
    std::string out(64 * 1024, '\0');
    const int n = BIO_read(SSL_get_wbio(ssl()), out.data(), static_cast<int>(out.size()));
    out.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return out;
  }
  void send(const std::string& bytes) {
    std::size_t sent = 0;
    while (sent < bytes.size()) {
      const ssize_t n = ::send(fd_.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (n > 0) sent += static_cast<std::size_t>(n);
      if (n < 0 && errno != EAGAIN) return;
      loop_.turn(milliseconds{0});
    }
  }
  /// Moves what came into OpenSSL; false when the server has closed.
  bool receive() {
    char block[4096];
    for (;;) {
      const ssize_t n = ::recv(fd_.get(), block, sizeof block, 0);
      if (n > 0) BIO_write(SSL_get_rbio(ssl()), block, static_cast<int>(n));
      if (n == 0 || (n < 0 && errno != EAGAIN)) return false;
      if (n < 0) return true;
    }
  }
  /// Goes on with the handshake until it ends; 1 when it succeeded. `send_with` sends a flight.
  int shake(const std::function<void(const std::string&)>& send_with = {}) {
    int result = -1;
    bool open = true;
    for (int i = 0; i < 2000; ++i) {
      ERR_clear_error();
      result = SSL_do_handshake(ssl());
      const int error = SSL_get_error(ssl(), result);
      const std::string out = take_output();
      if (!out.empty()) (send_with ? send_with(out) : send(out));
      if (result == 1 || error != SSL_ERROR_WANT_READ || !open) break;
      loop_.turn(milliseconds{1});
      open = receive();
    }
    return result;
  }
  int fd() const { return fd_.get(); }
  void close() { fd_.reset(); }

 private:
  io::Loop& loop_;
  io::Fd fd_;
  SslCtxPtr context_;
  SslPtr ssl_;
  bool server_ = false;
};
using RawClient = RawPeer;

}  // namespace merlon::tls::test
