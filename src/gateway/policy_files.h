#pragma once

#include <map>
#include <string>
#include <vector>

#include "gateway/config.h"
#include "gateway/digest.h"
#include "io/broker.h"

/// The files besides the configuration itself that say what is let through: two nodes are only the
/// same when these are, too.
namespace merlon::gateway {

struct PolicyFile {
  std::string path;
  Mark at;  ///< where the configuration names it
};

/// In the order of the configuration: JSON schemas, API keys, key sets, revocations,
/// certificate authorities and their revocation lists. Not certificates and private keys, which
/// differ between nodes and are renewed, and not passwords: what is published of those could be
/// guessed at.
[[nodiscard]] std::vector<PolicyFile> policy_files(const Config& config);

/// Opens everything by another broker, and keeps a digest of what it read of some files, so that
/// what is hashed is what was used. For the time of a load.
class ReadWitness final : public io::Broker {
 public:
  /// `broker` outlives this object.
  ReadWitness(io::Broker& broker, std::vector<PolicyFile> files);

  [[nodiscard]] const std::vector<PolicyFile>& files() const noexcept { return files_; }

  /// Adds for each file, in order, a digest of its content; "" for what was not read.
  void add_to(Digest& digest) const;

  io::OsResult<io::Fd> listen_tcp(const Endpoint& endpoint,
                                  const io::ListenOptions& options) override {
    return broker_.listen_tcp(endpoint, options);
  }
  io::OsResult<io::Fd> connect_tcp(const Endpoint& endpoint) override {
    return broker_.connect_tcp(endpoint);
  }
  io::OsResult<io::Fd> listen_unix(const std::string& path) override {
    return broker_.listen_unix(path);
  }
  io::OsResult<io::Fd> connect_unix(const std::string& path) override {
    return broker_.connect_unix(path);
  }
  io::OsResult<io::Fd> connect_unix_datagram(const std::string& address) override {
    return broker_.connect_unix_datagram(address);
  }
  io::OsResult<std::string> read_file(const std::string& path, std::size_t bytes_max) override;
  io::OsResult<io::FileStatus> status(const std::string& path) override {
    return broker_.status(path);
  }
  io::OsResult<io::Fd> open_append(const std::string& path) override {
    return broker_.open_append(path);
  }

 private:
  io::Broker& broker_;
  const std::vector<PolicyFile> files_;
  std::map<std::string, std::string> read_;  ///< digests by path; empty until it is read
};

}  // namespace merlon::gateway
