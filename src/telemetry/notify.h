#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/time.h"
#include "io/broker.h"

/// What a service manager is told and hands over: sd_notify(3) and sd_listen_fds(3), without
/// libsystemd.
namespace merlon::telemetry {

/// Tells the service manager what the process is doing. Does nothing when there is none. A message
/// that does not arrive is no error: the manager's own timeouts judge. Not thread-safe.
class Notifier {
 public:
  /// `socket` is the value of NOTIFY_SOCKET: a path, or "@name" for an abstract one; empty for
  /// none.
  Notifier(io::Broker& broker, const std::string& socket);
  /// From NOTIFY_SOCKET, which is removed so that no child inherits it. Call before threads start.
  [[nodiscard]] static Notifier from_environment(io::Broker& broker);

  /// Serving; also the end of a reload.
  void ready() noexcept;
  /// A reload begins at `now` (of the monotonic clock: MONOTONIC_USEC).
  void reloading(Instant now) noexcept;
  void stopping() noexcept;
  /// One line for `systemctl status`; control characters become spaces, cut at 256 bytes.
  void status(std::string_view line) noexcept;

  [[nodiscard]] bool active() const noexcept { return static_cast<bool>(fd_); }

 private:
  void send(std::string_view message) noexcept;
  io::Fd fd_;
};

/// A socket that the service manager made and handed over.
struct ActivatedSocket {
  io::Fd fd;                      ///< close-on-exec, non-blocking
  std::string name;               ///< FileDescriptorName=; "unknown" when none was given
  std::optional<Endpoint> local;  ///< nullopt for a socket that is not IP
  bool listening = false;         ///< a stream socket that accepts connections
};

/// What the variables of socket activation say, before any descriptor is touched.
struct ListenEnvironment {
  unsigned count = 0;  ///< descriptors from 3 on
  std::vector<std::string> names;
};

/// Judges LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES (empty: not set). None when they are not meant
/// for process `own_pid`; the error says what is malformed. At most 1,024 descriptors.
[[nodiscard]] std::expected<ListenEnvironment, std::string> parse_listen_environment(
    std::string_view pid, std::string_view fds, std::string_view names, std::int64_t own_pid);

/// Takes over the sockets of this process, once: removes the variables. Call before anything opens
/// a descriptor and before threads start.
[[nodiscard]] std::expected<std::vector<ActivatedSocket>, std::string> take_activated_sockets();

/// The same for descriptors from `first` on.
[[nodiscard]] std::expected<std::vector<ActivatedSocket>, std::string> adopt_sockets(
    const ListenEnvironment& environment, int first);

}  // namespace merlon::telemetry
