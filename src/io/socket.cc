#include "io/socket.h"

#include <linux/filter.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace merlon::io {

namespace {

// Whoever has just read more than this is likely to read more yet: it is not copied on its way.
constexpr std::size_t kReadsMuch = 8UL * 1024;

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
  send_queued();
  if (received_ != nullptr) received_->owner = nullptr;
  if (attached_) loop().poller().remove(fd_.get(), *this);
}

SocketStream::Kept& SocketStream::kept() {
  if (kept_ == nullptr) kept_ = std::make_unique<Kept>();
  return *kept_;
}

Attempt SocketStream::raw_read(std::span<char> into) noexcept {
  if (received_ != nullptr || kept_ != nullptr) {
    const Attempt ahead = read_ahead(into);
    if (ahead.status != Attempt::Status::kWouldBlock || !raw_readable_) return ahead;
  }
  for (;;) {
    const ssize_t n = receive(fd_.get(), into.data(), into.size());
    if (n > 0) {
      reads_much_ = static_cast<std::size_t>(n) > kReadsMuch;
      // A short read means drained: the next edge tells. Not so when the peer's close was signalled
      // already, for then no edge is to come.
      if (static_cast<std::size_t>(n) < into.size() && !peer_closing_) raw_readable_ = false;
      return Attempt::moved(static_cast<std::size_t>(n));
    }
    if (n == 0) return end_of_input();
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      raw_readable_ = false;
      return Attempt::would_block();
    }
    return Attempt::error(code_of_errno(errno));
  }
}

/// Reads what was received before it was asked for; kWouldBlock when nothing was.
Attempt SocketStream::read_ahead(std::span<char> into) noexcept {
  if (kept_ != nullptr && !kept_->in.empty()) {
    const std::size_t n = kept_->in.copy(into.data(), into.size(), kept_->in_from);
    kept_->in_from += n;
    if (kept_->in_from == kept_->in.size()) {
      std::string().swap(kept_->in);
      if (kept_->empty()) kept_.reset();
    }
    return Attempt::moved(n);
  }
  if (kept_ != nullptr && kept_->in_code != 0) return Attempt::error(kept_->in_code);
  if (received_ == nullptr) return Attempt::would_block();
  Received& received = *received_;
  if (received.error != 0) return Attempt::error(code_of_errno(received.error));
  if (received.size == 0) return end_of_input();
  const std::size_t n = std::min(into.size(), received.size);
  std::memcpy(into.data(), received.data, n);
  received.data += n;
  received.size -= n;
  if (received.size > 0) return Attempt::moved(n);
  if (received.drained && !peer_closing_) raw_readable_ = false;
  received_ = nullptr;
  received.owner = nullptr;
  return Attempt::moved(n);
}

/// The kernel tells of a reset once. When a send from the batch was told, the reader finds an end
/// that is none.
Attempt SocketStream::end_of_input() const noexcept {
  const bool reset = kept_ != nullptr && kept_->out_code == code::kReset;
  return reset ? Attempt::error(code::kReset) : Attempt::end();
}

void SocketStream::plan_receive(CallBatch& batch, std::uint32_t events) noexcept {
  const bool readable = (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == EPOLLIN;
  const bool wanted = read_waits() || (idle_handler_ != nullptr && !reset_only_);
  if (!readable || !wanted || reads_much_ || received_ != nullptr) return;
  if (kept_ != nullptr && (!kept_->in.empty() || kept_->in_code != 0)) return;
  if ((events & EPOLLRDHUP) != 0) peer_closing_ = true;
  static_cast<void>(batch.plan_receive(*this, fd_.get()));
}

void SocketStream::take_received(Received& received) noexcept {
  if (received.error == EAGAIN) {
    received.owner = nullptr;
    return;
  }
  received_ = &received;
  raw_readable_ = true;
}

/// The end need not be kept: the kernel tells it again.
void SocketStream::keep_received() noexcept {
  const Received& received = *std::exchange(received_, nullptr);
  if (received.error != 0) kept().in_code = code_of_errno(received.error);
  if (received.size == 0) return;
  kept().in.assign(received.data, received.size);
  kept().in_from = 0;
}

Attempt SocketStream::raw_write(std::span<const iovec> pieces) noexcept {
  if (!raw_writable_) return held_back();
  std::size_t bytes = 0;
  for (const iovec& piece : pieces) bytes += piece.iov_len;
  if (bytes == 0) return Attempt::moved(0);
  if (CallBatch* const batch = loop().batch(); batch != nullptr) {
    if (batch->queue_send(*this, fd_.get(), pieces, bytes, write_flags_)) {
      send_queued_ = true;
      return Attempt::moved(bytes);
    }
    send_queued();
    if (const Attempt before = unsent(); before.status != Attempt::Status::kOk) return before;
  }
  return send_pieces(pieces, bytes);
}

Attempt SocketStream::send_pieces(std::span<const iovec> pieces, std::size_t bytes) noexcept {
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
      if (static_cast<std::size_t>(n) < bytes) raw_writable_ = false;
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

Attempt SocketStream::held_back() const noexcept {
  const Attempt before = unsent();
  return before.status == Attempt::Status::kOk ? Attempt::would_block() : before;
}

Attempt SocketStream::unsent() const noexcept {
  if (kept_ == nullptr) return Attempt::moved(0);
  if (kept_->out_code != 0) return Attempt::error(kept_->out_code);
  return kept_->out.empty() ? Attempt::moved(0) : Attempt::would_block();
}

void SocketStream::on_queue_sent(std::span<const char> bytes, int result) noexcept {
  send_queued_ = false;
  if (result == static_cast<int>(bytes.size())) return;
  raw_writable_ = false;
  if (result < 0 && result != -EAGAIN) {
    kept().out_code = code_of_errno(-result);
    return;
  }
  const std::span<const char> rest = bytes.subspan(static_cast<std::size_t>(std::max(result, 0)));
  kept().out.assign(rest.data(), rest.size());
}

void SocketStream::send_queued() noexcept {
  if (send_queued_) loop().batch()->send_now(*this);
}

/// The kernel has room: first for what it did not take before. True when a writer may go on.
bool SocketStream::make_writable() noexcept {
  if (unsent().status == Attempt::Status::kError) return true;  // which it has to be told
  raw_writable_ = true;
  if (unsent().status == Attempt::Status::kWouldBlock) send_kept();
  return unsent().status != Attempt::Status::kWouldBlock;
}

void SocketStream::send_kept() noexcept {
  std::string& out = kept_->out;
  const iovec piece{out.data(), out.size()};
  const Attempt sent = send_pieces({&piece, 1}, out.size());
  if (sent.status == Attempt::Status::kError) {
    kept_->out_code = sent.code;
    raw_writable_ = false;
    out.clear();
  } else {
    out.erase(0, sent.n);
  }
  if (!out.empty()) return;
  if (kept_->shut_when_sent) ::shutdown(fd_.get(), SHUT_WR);
  kept_->shut_when_sent = false;
  if (kept_->empty()) kept_.reset();
}

bool SocketStream::has_news() noexcept {
  if (!raw_readable_) return false;
  if (received_ != nullptr || (kept_ != nullptr && !kept_->in.empty())) return true;
  // A read that just filled its buffer could not tell whether more was there.
  char byte = 0;
  const ssize_t n = ::recv(fd_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  raw_readable_ = n >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK) || peer_closing_;
  return raw_readable_;
}

void SocketStream::finish_writing() noexcept {
  send_queued();
  if (unsent().status == Attempt::Status::kWouldBlock) {
    kept_->shut_when_sent = true;
  } else {
    ::shutdown(fd_.get(), SHUT_WR);
  }
}

bool SocketStream::hand_over() noexcept {
  send_queued();
  return unsent().status == Attempt::Status::kOk;
}

void SocketStream::reset_on_close() noexcept {
  send_queued();
  if (kept_ != nullptr) kept_->out.clear();
  const linger off{.l_onoff = 1, .l_linger = 0};
  static_cast<void>(::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &off, sizeof off));
}

std::size_t SocketStream::unacknowledged_bytes() const noexcept {
  int bytes = 0;
  if (::ioctl(fd_.get(), SIOCOUTQ, &bytes) != 0 || bytes < 0) bytes = 0;
  return static_cast<std::size_t>(bytes) + (kept_ == nullptr ? 0 : kept_->out.size());
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
  const bool room = (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0;
  const bool writable = room && make_writable();
  if (readable) raw_readable_ = true;
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
                                                    Instant deadline, ConnectCancel* cancel) {
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
  const ConnectCancel::Scope scope(cancel, *stream);
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
}  // namespace

std::atomic<int> Acceptor::Spare::wanted_ = 0;

Fd Acceptor::Spare::make() noexcept {
  return Fd(::eventfd(0, EFD_CLOEXEC));  // needs no path, wherever the process may look
}

// Others accept already: they shed for its want only where it is one.
Acceptor::Spare::Spare() noexcept : held_(make()) {
  if (!held_) wanted_.fetch_add(1);
}

Acceptor::Spare::~Spare() {
  if (!held_) wanted_.fetch_sub(1);
}

void Acceptor::Spare::give_up() noexcept {
  if (!held_) return;
  wanted_.fetch_add(1);
  held_.reset();
}

bool Acceptor::Spare::reopen() noexcept {
  if (held_) return true;
  held_ = make();
  if (held_) wanted_.fetch_sub(1);
  return static_cast<bool>(held_);
}

Acceptor::Acceptor(Loop& loop, Fd listener, Handler handler, std::function<void()> on_shed)
    : loop_(loop),
      listener_(std::move(listener)),
      handler_(std::move(handler)),
      on_shed_(std::move(on_shed)),
      retry_(*this) {
  // A socket that was handed over may carry the filter of a process that died while it drained.
  detach_filter(listener_.get());
  attached_ = loop_.poller().add(listener_.get(), *this);
  spare_.emplace();
  if (!spare_->reopen()) loop_.timers().arm(retry_, loop_.now() + kRetryAfter);
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
  spare_.reset();
  detach_filter(listener_.get());  // others may hold the same socket
  listener_.reset();
}

bool Acceptor::shed_one() noexcept {
  spare_->give_up();
  const Fd doomed(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!doomed) return false;
  on_shed_();
  return true;
}

void Acceptor::on_events(std::uint32_t) noexcept {
  if (!listener_) return;
  spare_->reopen();
  for (int i = 0; i < kAcceptsPerTurn && listener_; ++i) {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    Fd fd(::accept4(listener_.get(), reinterpret_cast<sockaddr*>(&address), &length,
                    SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd && Spare::any_wanted()) {
      fd.reset();
      on_shed_();
      spare_->reopen();
      continue;
    }
    if (fd) {
      const auto peer = Endpoint::from_sockaddr(reinterpret_cast<const sockaddr*>(&address));
      if (peer) handler_(std::move(fd), *peer);
      continue;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (spare_->reopen()) return;
      break;
    }
    if (errno == EMFILE || errno == ENFILE) {
      const bool shed = shed_one();
      spare_->reopen();
      if (!shed) break;
    }
    // Anything else concerns the one connection that failed (accept(2), ECONNABORTED and its like).
  }
  if (listener_) loop_.timers().arm(retry_, loop_.now() + kRetryAfter);
}

}  // namespace merlon::io
