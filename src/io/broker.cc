#include "io/broker.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <system_error>

namespace merlon::io {
namespace {

// Of what is read as a file and is none; no call here fails with it otherwise.
constexpr int kNotRegular = ESPIPE;

std::unexpected<OsError> last_error() { return std::unexpected(OsError{errno}); }

void set_flag(int fd, int level, int option, int value = 1) {
  // These only tune; a socket without them still works.
  static_cast<void>(::setsockopt(fd, level, option, &value, sizeof value));
}

std::int64_t to_ns(const timespec& time) {
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

FileStatus to_status(const struct stat& s) {
  return {.size_bytes = static_cast<std::uint64_t>(s.st_size),
          .mode = s.st_mode & 07777U,
          .owner = s.st_uid,
          .modified_ns = to_ns(s.st_mtim),
          .changed_ns = to_ns(s.st_ctim),
          .device = s.st_dev,
          .inode = s.st_ino,
          .regular = S_ISREG(s.st_mode)};
}

OsResult<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return std::unexpected(OsError{ENAMETOOLONG});
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

class LocalBroker final : public Broker {
 public:
  OsResult<Fd> listen_tcp(const Endpoint& endpoint, const ListenOptions& options) override {
    sockaddr_storage address;
    const socklen_t length = endpoint.to_sockaddr(address);
    Fd fd(::socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return last_error();
    set_flag(fd.get(), SOL_SOCKET, SO_REUSEADDR);
    if (options.reuse_port) set_flag(fd.get(), SOL_SOCKET, SO_REUSEPORT);
    set_for_connections(fd.get());
    // `[::]` is every address of the host, whatever net.ipv6.bindv6only says.
    if (endpoint.address.is_v6()) set_flag(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0)
      return last_error();
    if (::listen(fd.get(), options.backlog) != 0) return last_error();
    return fd;
  }

  OsResult<Fd> connect_tcp(const Endpoint& endpoint) override {
    sockaddr_storage address;
    const socklen_t length = endpoint.to_sockaddr(address);
    Fd fd(::socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return last_error();
    set_for_connections(fd.get());
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0 &&
        errno != EINPROGRESS)
      return last_error();
    return fd;
  }

  OsResult<Fd> listen_unix(const std::string& path) override {
    const auto address = unix_address(path);
    if (!address) return std::unexpected(address.error());
    // A file left by a process that is gone is replaced; one that answers is in use.
    if (connect_unix(path)) return std::unexpected(OsError{EADDRINUSE});
    struct stat s{};
    if (::lstat(path.c_str(), &s) == 0 && S_ISSOCK(s.st_mode)) ::unlink(path.c_str());
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return last_error();
    const mode_t old_mask = ::umask(0177);
    const int bound =
        ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address);
    ::umask(old_mask);
    if (bound != 0 || ::listen(fd.get(), 16) != 0) return last_error();
    return fd;
  }

  OsResult<Fd> connect_unix(const std::string& path) override {
    const auto address = unix_address(path);
    if (!address) return std::unexpected(address.error());
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) return last_error();
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0)
      return last_error();
    return fd;
  }

  OsResult<Fd> connect_unix_datagram(const std::string& address) override {
    auto named = unix_address(address);
    if (!named) return std::unexpected(named.error());
    auto length = static_cast<socklen_t>(sizeof *named);
    if (address.starts_with('@')) {
      // The length says where an abstract name ends (unix(7)), so no bytes may follow it.
      named->sun_path[0] = '\0';
      length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.size());
    }
    Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return last_error();
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&*named), length) != 0)
      return last_error();
    return fd;
  }

  OsResult<std::string> read_file(const std::string& path, std::size_t bytes_max) override {
    // Non-blocking, so that a FIFO in place of a file does not hang the opener.
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!fd) return last_error();
    struct stat s{};
    if (::fstat(fd.get(), &s) != 0) return last_error();
    if (!S_ISREG(s.st_mode))
      return std::unexpected(OsError{S_ISDIR(s.st_mode) ? EISDIR : kNotRegular});
    std::string text;
    char block[16 * 1024];
    for (;;) {
      const ssize_t n = ::read(fd.get(), block, sizeof block);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return last_error();
      if (n == 0) return text;
      if (text.size() + static_cast<std::size_t>(n) > bytes_max)
        return std::unexpected(OsError{EFBIG});
      text.append(block, static_cast<std::size_t>(n));
    }
  }

  OsResult<FileStatus> status(const std::string& path) override {
    struct stat s{};
    if (::stat(path.c_str(), &s) != 0) return last_error();
    return to_status(s);
  }

  OsResult<Fd> open_append(const std::string& path) override {
    // A FIFO that nobody reads is an error, not a wait without end.
    constexpr int kFlags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    Fd fd(::open(path.c_str(), kFlags, 0640));
    if (!fd || ::fcntl(fd.get(), F_SETFL, O_APPEND) != 0) return last_error();
    return fd;
  }
};

}  // namespace

void set_for_connections(int socket) noexcept {
  // What the kernel holds for a peer that does not read, beyond what is on its way to it: without a
  // bound that is tcp_wmem's 4 MiB a connection, and room again only once a third of it has gone,
  // which looks like a peer that takes nothing.
  constexpr int kUnsentBytesMax = 128 * 1024;
  set_flag(socket, IPPROTO_TCP, TCP_NODELAY);
  static_cast<void>(::setsockopt(socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &kUnsentBytesMax,
                                 sizeof kUnsentBytesMax));
}

std::string OsError::text() const {
  if (number == kNotRegular) return "it is not a regular file";
  return std::system_category().message(number);
}

OsResult<Fd> open_proc_self(const std::string& name) {
  Fd fd(::open(("/proc/self/" + name).c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return last_error();
  return fd;
}

std::unique_ptr<Broker> make_local_broker() { return std::make_unique<LocalBroker>(); }

}  // namespace merlon::io
