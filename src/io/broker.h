#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>

#include "base/ip.h"
#include "io/fd.h"

namespace merlon::io {

/// A failure of the operating system: an errno with its text.
struct OsError {
  int number = 0;
  [[nodiscard]] std::string text() const;
};

template <class T>
using OsResult = std::expected<T, OsError>;

/// What is worth knowing of a file without opening it.
struct FileStatus {
  std::uint64_t size_bytes = 0;
  std::uint32_t mode = 0;  ///< permission bits
  std::uint32_t owner = 0;
  std::int64_t modified_ns = 0;  ///< since the epoch
  /// Of its content or of what is known of it, since the epoch. Nobody can set it: an archive that
  /// is unpacked with its own times, into an inode that was just freed, differs by nothing else.
  std::int64_t changed_ns = 0;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  bool regular = false;
  bool operator==(const FileStatus&) const = default;
};

struct ListenOptions {
  int backlog = 4096;       ///< the kernel cuts it to net.core.somaxconn
  bool reuse_port = false;  ///< one socket per worker on the same address (SO_REUSEPORT)
};

/// The only way to files and sockets. Today it is this process itself; a privileged warden can
/// stand behind it, since nothing else opens anything (tests/unit/test_broker.py holds it). All
/// sockets are close-on-exec, and non-blocking but for `connect_unix`. Thread-safe.
class Broker {
 public:
  virtual ~Broker() = default;

  virtual OsResult<Fd> listen_tcp(const Endpoint& endpoint, const ListenOptions& options) = 0;
  /// Starts a connection, which may still be in progress: writable means that it was decided.
  virtual OsResult<Fd> connect_tcp(const Endpoint& endpoint) = 0;
  /// A stream socket in the file system, mode 0600; an old socket file without listener is
  /// replaced.
  virtual OsResult<Fd> listen_unix(const std::string& path) = 0;
  /// Connects and blocks until it is done; for commands, not for workers.
  virtual OsResult<Fd> connect_unix(const std::string& path) = 0;
  /// A datagram socket connected to `address`, a path or "@name" for an abstract one.
  virtual OsResult<Fd> connect_unix_datagram(const std::string& address) = 0;
  /// The whole of a regular file of at most `bytes_max` bytes. EFBIG above; EISDIR for a directory,
  /// ESPIPE for what else is no regular file.
  virtual OsResult<std::string> read_file(const std::string& path, std::size_t bytes_max) = 0;
  virtual OsResult<FileStatus> status(const std::string& path) = 0;
  /// Opens for appending, made with mode 0640 when it is not there.
  virtual OsResult<Fd> open_append(const std::string& path) = 0;
};

/// For a connection to be made, or a listening socket: the connections that it accepts inherit it,
/// so that none needs a call of its own. Before `connect` or `listen`, or at once for a socket that
/// was handed over: connections that the kernel accepted earlier go without.
void set_for_connections(int socket) noexcept;

/// Opens `name` below /proc/self for reading, a directory too. Not of the broker: what a process
/// learns about itself nobody else can open for it.
OsResult<Fd> open_proc_self(const std::string& name);

/// The broker of a process that opens things itself.
std::unique_ptr<Broker> make_local_broker();

}  // namespace merlon::io
