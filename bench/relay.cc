// A relay of bytes on one thread, the floor of the comparison: what forwarding costs in the kernel
// when nothing of HTTP is read. One upstream connection for each client connection; 127.0.0.1 only.
// Usage: merlon_bench_relay LISTEN_PORT UPSTREAM_PORT
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace {

constexpr int kBacklog = 4096;
// As large as what the proxies read at once, or larger: the floor must not be lost to small reads.
constexpr std::size_t kBufferBytes = 64UL * 1024;

/// One socket of a pair. `owed` is what its peer sent and this socket has not taken yet; while
/// there is some, the peer is not read (back-pressure).
struct Side {
  int fd = -1;
  Side* other = nullptr;
  std::string owed;
  bool ended = false;  ///< its end was signalled: read until it shows
};

/// A client connection and its upstream connection; they end together.
struct Pair {
  Side client;
  Side upstream;
  bool open = true;
};

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

bool connects(int fd, const sockaddr_in& to) {
  return connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0 ||
         errno == EINPROGRESS;
}

void send_at_once(int fd) {
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

class Relay {
 public:
  Relay(std::uint16_t listen_port, std::uint16_t upstream_port)
      : upstream_(loopback(upstream_port)) {
    listener_.fd = listen_on(listen_port);
  }

  [[nodiscard]] bool ready() const { return listener_.fd >= 0 && epoll_ >= 0; }

  /// Serves until a signal ends the process.
  [[noreturn]] void run() {
    std::array<epoll_event, 256> events{};
    watch(listener_, nullptr, EPOLLIN);
    for (;;) {
      const int count = epoll_wait(epoll_, events.data(), events.size(), -1);
      for (int i = 0; i < count; ++i) handle(events[static_cast<std::size_t>(i)]);
      closed_.clear();  // only now: a later event of the same turn may still point at a closed pair
    }
  }

 private:
  static int listen_on(std::uint16_t port) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    const sockaddr_in at = loopback(port);
    if (bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0) return -1;
    return listen(fd, kBacklog) == 0 ? fd : -1;
  }

  /// What an event points at: a side of a pair, or the listener when `pair` is null.
  struct Watched {
    Side* side;
    Pair* pair;
  };

  void watch(Side& side, Pair* pair, std::uint32_t events) {
    watched_.resize(std::max(watched_.size(), static_cast<std::size_t>(side.fd) + 1));
    watched_[static_cast<std::size_t>(side.fd)] = {&side, pair};
    epoll_event event{.events = events, .data = {.fd = side.fd}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, side.fd, &event);
  }

  void handle(const epoll_event& event) {
    const Watched at = watched_[static_cast<std::size_t>(event.data.fd)];
    if (at.pair == nullptr) return accept_all();
    if (!at.pair->open) return;
    at.side->ended |= (event.events & EPOLLRDHUP) != 0;
    if ((event.events & EPOLLOUT) != 0 && !at.side->owed.empty()) {
      if (!pay(*at.pair, *at.side)) return;
      pass_on(*at.pair, *at.side->other);
    }
    const bool readable = (event.events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    if (readable && at.pair->open) pass_on(*at.pair, *at.side);
  }

  void accept_all() {
    for (;;) {
      const int fd = accept4(listener_.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      const int up = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      if (up < 0 || !connects(up, upstream_)) {
        close(fd);
        if (up >= 0) close(up);
        continue;
      }
      auto pair = std::make_unique<Pair>();
      pair->client = {.fd = fd, .other = &pair->upstream, .owed = {}, .ended = false};
      pair->upstream = {.fd = up, .other = &pair->client, .owed = {}, .ended = false};
      open(std::move(pair));
    }
  }

  void open(std::unique_ptr<Pair> pair) {
    for (Side* side : {&pair->client, &pair->upstream}) {
      send_at_once(side->fd);
      watch(*side, pair.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
    }
    pairs_.resize(std::max(pairs_.size(), static_cast<std::size_t>(pair->client.fd) + 1));
    pairs_[static_cast<std::size_t>(pair->client.fd)] = std::move(pair);
  }

  void shut(Pair& pair) {
    pair.open = false;
    close(pair.upstream.fd);
    close(pair.client.fd);
    closed_.push_back(std::move(pairs_[static_cast<std::size_t>(pair.client.fd)]));
  }

  /// Sends what `side` is owed. True when nothing is left.
  bool pay(Pair& pair, Side& side) {
    while (!side.owed.empty()) {
      const ssize_t sent = send(side.fd, side.owed.data(), side.owed.size(), MSG_NOSIGNAL);
      if (sent < 0) {
        if (errno != EAGAIN) shut(pair);
        return false;
      }
      side.owed.erase(0, static_cast<std::size_t>(sent));
    }
    return true;
  }

  /// Reads what `from` has and hands it to the other side, until there is no more or it is full.
  void pass_on(Pair& pair, Side& from) {
    Side& to = *from.other;
    while (to.owed.empty()) {
      const ssize_t got = recv(from.fd, buffer_.data(), buffer_.size(), 0);
      if (got < 0 && errno == EAGAIN) return;
      if (got <= 0) return shut(pair);
      const auto size = static_cast<std::size_t>(got);
      const ssize_t sent = send(to.fd, buffer_.data(), size, MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN) return shut(pair);
      const std::size_t taken = sent < 0 ? 0 : static_cast<std::size_t>(sent);
      to.owed.assign(buffer_.data() + taken, size - taken);
      // A short read: drained, the next edge will tell, unless the last one has.
      if (size < buffer_.size() && !from.ended) return;
    }
  }

  const int epoll_ = epoll_create1(EPOLL_CLOEXEC);
  const sockaddr_in upstream_;
  Side listener_;
  std::vector<Watched> watched_;              ///< by descriptor
  std::vector<std::unique_ptr<Pair>> pairs_;  ///< by the client's descriptor
  std::vector<std::unique_ptr<Pair>> closed_;
  std::array<char, kBufferBytes> buffer_{};
};

/// A port from 1 to 65535, or 0.
std::uint16_t port_of(const char* text) {
  std::uint16_t port = 0;
  const char* end = text + std::strlen(text);
  const auto [at, failure] = std::from_chars(text, end, port);
  return failure == std::errc{} && at == end ? port : std::uint16_t{0};
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint16_t listen_port = argc == 3 ? port_of(argv[1]) : std::uint16_t{0};
  const std::uint16_t upstream_port = argc == 3 ? port_of(argv[2]) : std::uint16_t{0};
  if (listen_port == 0 || upstream_port == 0) {
    std::fputs("usage: merlon_bench_relay LISTEN_PORT UPSTREAM_PORT\n", stderr);
    return 2;
  }
  std::signal(SIGPIPE, SIG_IGN);
  const auto relay = std::make_unique<Relay>(listen_port, upstream_port);
  if (!relay->ready()) {
    std::perror("relay: cannot listen");
    return 1;
  }
  relay->run();
}
