#include "io/socket.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace merlon::io {

namespace {

// The C library makes each of these a point where a thread may be cancelled, which costs two atomic
// operations a call in a process with threads. Nobody cancels threads here.

ssize_t receive(int fd, void* into, std::size_t size) noexcept {
  return ::syscall(SYS_recvfrom, fd, into, size, 0, nullptr, nullptr);
}

ssize_t send_one(int fd, const void* bytes, std::size_t size, int flags) noexcept {
  return ::syscall(SYS_sendto, fd, bytes, size, flags, nullptr, 0);
}

ssize_t send_all(int fd, const msghdr& message, int flags) noexcept {
  return ::syscall(SYS_sendmsg, fd, &message, flags);
}

}  // namespace

std::uint16_t code_of_errno(int number) noexcept {
  switch (number) {
    case ECONNRESET:
      return code::kReset;
    case EPIPE:
      return code::kBrokenPipe;
    case ECONNREFUSED:
      return code::kRefused;
    case ETIMEDOUT:
      return code::kTimedOut;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EACCES:
    case EPERM:
      return code::kUnreachable;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case EADDRNOTAVAIL:  // connect(2): no local port is left for this peer
      return code::kResources;
    default:
      return code::kIo;
  }
}

SocketStream::SocketStream(Loop& loop, Fd fd, bool connecting) noexcept
    : Stream(loop), fd_(std::move(fd)), raw_writable_(!connecting) {
  attached_ = loop.poller().add(fd_.get(), *this);
}

SocketStream::~SocketStream() {
  if (attached_) loop().poller().remove(fd_.get(), *this);
}

Attempt SocketStream::raw_read(std::span<char> into) noexcept {
  for (;;) {
    const ssize_t n = receive(fd_.get(), into.data(), into.size());
    if (n > 0) {
      // A short read means drained: the next edge tells. Not so when the peer's close was signalled
      // already, for then no edge is to come.
      if (static_cast<std::size_t>(n) < into.size() && !peer_closing_) raw_readable_ = false;
      return Attempt::moved(static_cast<std::size_t>(n));
    }
    if (n == 0) return Attempt::end();
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      raw_readable_ = false;
      return Attempt::would_block();
    }
    return Attempt::error(code_of_errno(errno));
  }
}

Attempt SocketStream::raw_write(std::span<const iovec> pieces) noexcept {
  if (!raw_writable_) return Attempt::would_block();
  std::size_t wanted = 0;
  for (const iovec& piece : pieces) wanted += piece.iov_len;
  for (;;) {
    ssize_t n = 0;
    if (pieces.size() == 1) {
      n = send_one(fd_.get(), pieces[0].iov_base, pieces[0].iov_len, write_flags_);
    } else {
      msghdr message{};
      message.msg_iov = const_cast<iovec*>(pieces.data());
      message.msg_iovlen = pieces.size();
      n = send_all(fd_.get(), message, write_flags_);
    }
    if (n >= 0) {
      if (static_cast<std::size_t>(n) < wanted) raw_writable_ = false;
      return Attempt::moved(static_cast<std::size_t>(n));
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      raw_writable_ = false;
      return Attempt::would_block();
    }
    return Attempt::error(code_of_errno(errno));
  }
}

bool SocketStream::has_news() noexcept {
  if (!raw_readable_) return false;
  // A read that just filled its buffer could not tell whether more was there.
  char byte = 0;
  const ssize_t n = ::recv(fd_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  raw_readable_ = n >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK) || peer_closing_;
  return raw_readable_;
}

void SocketStream::finish_writing() noexcept { ::shutdown(fd_.get(), SHUT_WR); }

void SocketStream::reset_on_close() noexcept {
  const linger off{.l_onoff = 1, .l_linger = 0};
  static_cast<void>(::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &off, sizeof off));
}

std::size_t SocketStream::unacknowledged_bytes() const noexcept {
  int bytes = 0;
  return ::ioctl(fd_.get(), SIOCOUTQ, &bytes) == 0 && bytes > 0 ? static_cast<std::size_t>(bytes)
                                                                : 0;
}

std::optional<Endpoint> SocketStream::peer() const noexcept {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getpeername(fd_.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) return {};
  return Endpoint::from_sockaddr(reinterpret_cast<const sockaddr*>(&address));
}

std::optional<Endpoint> SocketStream::local() const noexcept {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) return {};
  return Endpoint::from_sockaddr(reinterpret_cast<const sockaddr*>(&address));
}

void SocketStream::on_events(std::uint32_t events) noexcept {
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) peer_closing_ = true;
  const bool readable = (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
  const bool writable = (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0;
  if (readable) raw_readable_ = true;
  if (writable) raw_writable_ = true;
  if (reset_only_) {
    if ((events & (EPOLLHUP | EPOLLERR)) != 0) idle_handler_(idle_context_);
  } else if (idle_handler_ != nullptr && readable && !read_waits()) {
    if (writable) on_ready(false, true);
    idle_handler_(idle_context_);
    return;
  }
  on_ready(readable, writable);
}

bool SocketStream::Connected::attempt() noexcept {
  if (!socket_.raw_writable_) return false;
  int number = 0;
  socklen_t length = sizeof number;
  if (::getsockopt(socket_.fd_.get(), SOL_SOCKET, SO_ERROR, &number, &length) != 0) number = errno;
  if (number != 0) code_ = code_of_errno(number);
  return true;
}

Task<Result<std::unique_ptr<SocketStream>>> connect(Loop& loop, Broker& broker, Endpoint endpoint,
                                                    Instant deadline) {
  const auto failed = [](std::uint16_t code) {
    return std::unexpected(Error{.code = code,
                                 .blame = Blame::kUpstream,
                                 .retryable = true,
                                 .what = "connecting to the upstream failed"});
  };
  OsResult<Fd> fd = broker.connect_tcp(endpoint);
  if (!fd) co_return failed(code_of_errno(fd.error().number));
  auto stream = std::make_unique<SocketStream>(loop, std::move(*fd), true);
  if (!stream->attached()) co_return failed(code::kResources);
  Result<void> connected = co_await stream->connected(deadline);
  if (!connected) co_return failed(connected.error().code);
  co_return stream;
}

namespace {
// One turn's worth: more would starve the connections that are there already.
constexpr int kAcceptsPerTurn = 64;
// The queue may hold more and tells no second time: looked at again soon, after other work.
constexpr milliseconds kRetryAfter{1};

void detach_filter(int fd) noexcept {
  const int unused = 0;
  static_cast<void>(::setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof unused));
}

Fd spare_descriptor() { return Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }
}  // namespace

Acceptor::Acceptor(Loop& loop, Fd listener, Handler handler, std::function<void()> on_shed)
    : loop_(loop),
      listener_(std::move(listener)),
      spare_(spare_descriptor()),
      handler_(std::move(handler)),
      on_shed_(std::move(on_shed)),
      retry_(*this) {
  // A socket that was handed over may carry the filter of a process that died while it drained.
  detach_filter(listener_.get());
  attached_ = loop_.poller().add(listener_.get(), *this);
}

Acceptor::~Acceptor() { close(); }

void Acceptor::admit_no_more() noexcept {
  // Drops what begins a connection: SYN without ACK, in the byte of flags (RFC 9293 §3.1). Were the
  // socket simply closed, the kernel would reset those that it had accepted for us.
  static std::array<sock_filter, 5> code{{
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, TH_SYN | TH_ACK),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TH_SYN, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
  }};
  const sock_fprog program{.len = code.size(), .filter = code.data()};
  // Without it a connection may be lost, and everything else is as it should be.
  static_cast<void>(
      ::setsockopt(listener_.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
}

void Acceptor::close() noexcept {
  if (!listener_) return;
  // Socket activation: systemd, the server and every worker hold the same listening socket.
  if (attached_) loop_.poller().remove_shared(listener_.get(), *this);
  attached_ = false;
  retry_.disarm();
  detach_filter(listener_.get());  // others may hold the same socket
  listener_.reset();
}

bool Acceptor::shed_one() noexcept {
  spare_.reset();
  const Fd doomed(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  const bool shed = static_cast<bool>(doomed);
  if (shed) on_shed_();
  return shed;
}

void Acceptor::on_events(std::uint32_t) noexcept {
  for (int i = 0; i < kAcceptsPerTurn && listener_; ++i) {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    Fd fd(::accept4(listener_.get(), reinterpret_cast<sockaddr*>(&address), &length,
                    SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd) {
      const auto peer = Endpoint::from_sockaddr(reinterpret_cast<const sockaddr*>(&address));
      if (peer) handler_(std::move(fd), *peer);
      continue;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) return;
    if (errno == EMFILE || errno == ENFILE) {
      const bool shed = shed_one();
      spare_ = spare_descriptor();
      if (!shed) break;
    }
    // Anything else concerns the one connection that failed (accept(2), ECONNABORTED and its like).
  }
  if (listener_) loop_.timers().arm(retry_, loop_.now() + kRetryAfter);
}

}  // namespace merlon::io
