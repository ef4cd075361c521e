#pragma once

#include <map>
#include <string>
#include <vector>

#include "gateway/config.h"
#include "gateway/digest.h"
#include "io/broker.h"
#include "tls/rotation.h"

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

/// Those of them that take effect with a reload only: nobody replaces them in one step, as
/// certificates are renewed, so a half-written one must not be taken.
[[nodiscard]] std::vector<std::string> unwatched_files(const Config& config);
/// The files that take effect when they change: certificates, private keys, authorities and
/// revocation lists, key sets, revocations, API keys, client secrets, the password of Redis.
[[nodiscard]] std::vector<std::string> watched_files(const Config& config);

/// Every file that the configuration names to be read.
[[nodiscard]] std::vector<PolicyFile> named_files(const Config& config);

/// Opens everything by another broker, and keeps a digest of what it read of some files, so that
/// what is hashed is what was used, with the state of each file before it was read. For the time of
/// a load.
class ReadWitness final : public io::Broker {
 public:
  using Texts = std::map<std::string, std::string>;    ///< by path
  using Digests = std::map<std::string, std::string>;  ///< by path; empty: not read

  /// `broker` outlives this object. The files of `given` are not read: that is what they say.
  ReadWitness(io::Broker& broker, const Config& config, Texts given);

  /// Adds for each policy file of the configuration, in order, a digest of its content; "" for what
  /// was not read.
  void add_to(Digest& digest) const;
  /// The file that the configuration names at `at`, or that has this place in it, was not taken:
  /// what is used is as `in_force` says, and otherwise nothing.
  void not_taken(const Mark& at, const Digests& in_force);
  [[nodiscard]] const Digests& digests() const noexcept { return digests_; }
  /// What was read, each as it was just before.
  [[nodiscard]] const tls::FileWatch::States& states() const noexcept { return states_; }
  /// Of the files that are not watched.
  [[nodiscard]] const Texts& texts() const noexcept { return texts_; }

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
  void note(const std::string& path, const std::string& text);

  io::Broker& broker_;
  const std::vector<PolicyFile> files_;
  const Texts given_;
  Texts texts_;
  Digests digests_;
  tls::FileWatch::States states_;
};

}  // namespace merlon::gateway
