#include "telemetry/notify.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <utility>

namespace merlon::telemetry {
namespace {

constexpr int kFirstFd = 3;  // SD_LISTEN_FDS_START
constexpr unsigned kFdsMax = 1024;
constexpr std::size_t kNameBytesMax = 255;  // as systemd bounds FileDescriptorName=
constexpr std::size_t kStatusBytesMax = 256;

/// The value of a variable, which is removed.
std::string take_variable(const char* name) {
  const char* const value = ::getenv(name);
  std::string copy = value == nullptr ? "" : value;
  ::unsetenv(name);
  return copy;
}

template <class T>
std::optional<T> decimal(std::string_view text) noexcept {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::expected<std::vector<std::string>, std::string> split_names(std::string_view text) {
  std::vector<std::string> names;
  while (!text.empty()) {
    const std::size_t colon = text.find(':');
    const std::string_view name = text.substr(0, colon);
    if (name.size() > kNameBytesMax) return std::unexpected("LISTEN_FDNAMES has an overlong name");
    names.emplace_back(name);
    if (names.size() > kFdsMax) return std::unexpected("LISTEN_FDNAMES has too many names");
    text = colon == std::string_view::npos ? std::string_view{} : text.substr(colon + 1);
  }
  return names;
}

int option_of(int fd, int option) noexcept {
  int value = 0;
  socklen_t size = sizeof value;
  return ::getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

bool prepare(int fd) noexcept {
  const int status = ::fcntl(fd, F_GETFL);
  return status >= 0 && ::fcntl(fd, F_SETFL, status | O_NONBLOCK) == 0 &&
         ::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

}  // namespace

Notifier::Notifier(io::Broker& broker, const std::string& socket) {
  // Only these two forms are defined (sd_notify(3)); others, such as vsock, are not for services.
  if (!socket.starts_with('/') && !socket.starts_with('@')) return;
  if (auto fd = broker.connect_unix_datagram(socket)) fd_ = *std::move(fd);
}

Notifier Notifier::from_environment(io::Broker& broker) {
  return Notifier(broker, take_variable("NOTIFY_SOCKET"));
}

void Notifier::ready() noexcept { send("READY=1\n"); }

void Notifier::reloading(Instant now) noexcept {
  const auto since_boot = std::chrono::floor<microseconds>(now.time_since_epoch());
  send("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(since_boot.count()) + "\n");
}

void Notifier::stopping() noexcept { send("STOPPING=1\n"); }

void Notifier::status(std::string_view line) noexcept {
  std::string message = "STATUS=";
  for (const char c : line.substr(0, kStatusBytesMax))
    message += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
  send(message + "\n");
}

void Notifier::send(std::string_view message) noexcept {
  if (!fd_) return;
  static_cast<void>(!::send(fd_.get(), message.data(), message.size(), MSG_NOSIGNAL));
}

std::expected<ListenEnvironment, std::string> parse_listen_environment(std::string_view pid,
                                                                       std::string_view fds,
                                                                       std::string_view names,
                                                                       std::int64_t own_pid) {
  if (pid.empty() || fds.empty()) return ListenEnvironment{};
  const auto meant = decimal<std::int64_t>(pid);
  if (!meant) return std::unexpected("LISTEN_PID is no process id");
  if (*meant != own_pid) return ListenEnvironment{};
  const auto count = decimal<unsigned>(fds);
  if (!count || *count > kFdsMax) return std::unexpected("LISTEN_FDS is no number up to 1024");
  auto list = split_names(names);
  if (!list) return std::unexpected(list.error());
  if (list->size() > *count)
    return std::unexpected("LISTEN_FDNAMES has more names than LISTEN_FDS");
  list->resize(*count, "unknown");
  return ListenEnvironment{.count = *count, .names = *std::move(list)};
}

std::expected<std::vector<ActivatedSocket>, std::string> adopt_sockets(
    const ListenEnvironment& environment, int first) {
  std::vector<ActivatedSocket> sockets;
  for (unsigned i = 0; i < environment.count; ++i) {
    const int fd = first + static_cast<int>(i);
    if (!prepare(fd))
      return std::unexpected("descriptor " + std::to_string(fd) + " of LISTEN_FDS is not open");
    ActivatedSocket socket{.fd = io::Fd(fd), .name = environment.names[i], .local = {}};
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0)
      return std::unexpected("descriptor " + std::to_string(fd) + " of LISTEN_FDS is no socket");
    socket.local = Endpoint::from_sockaddr(reinterpret_cast<const sockaddr*>(&address));
    socket.listening = option_of(fd, SO_TYPE) == SOCK_STREAM && option_of(fd, SO_ACCEPTCONN) == 1;
    sockets.push_back(std::move(socket));
  }
  return sockets;
}

std::expected<std::vector<ActivatedSocket>, std::string> take_activated_sockets() {
  const std::string pid = take_variable("LISTEN_PID");
  const std::string fds = take_variable("LISTEN_FDS");
  const std::string names = take_variable("LISTEN_FDNAMES");
  const auto environment = parse_listen_environment(pid, fds, names, ::getpid());
  if (!environment) return std::unexpected(environment.error());
  return adopt_sockets(*environment, kFirstFd);
}

}  // namespace merlon::telemetry
