#pragma once

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "io/broker.h"

namespace merlon::upstream {

/// Connects to nobody: each connection is one end of a pair whose other end stays open and silent.
/// Ports that refuse do that. Thread-safe. Of files it opens those that are appended to.
class PairBroker final : public io::Broker {
 public:
  void refuse(std::uint16_t port) {
    const std::lock_guard lock(mutex_);
    refusing_.push_back(port);
  }
  /// What the other end says of its own accord: its settings, where HTTP/2 is spoken.
  void greet_with(std::string bytes) {
    const std::lock_guard lock(mutex_);
    greeting_ = std::move(bytes);
  }
  /// The ports that were connected to, in order.
  [[nodiscard]] std::vector<std::uint16_t> asked() const {
    const std::lock_guard lock(mutex_);
    return asked_;
  }
  void forget() {
    const std::lock_guard lock(mutex_);
    asked_.clear();
  }

  io::OsResult<io::Fd> connect_tcp(const Endpoint& to) override {
    const std::lock_guard lock(mutex_);
    asked_.push_back(to.port);
    if (std::ranges::find(refusing_, to.port) != refusing_.end())
      return std::unexpected(io::OsError{.number = ECONNREFUSED});
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
      return std::unexpected(io::OsError{.number = errno});
    far_.emplace_back(pair[1]);
    if (::send(pair[1], greeting_.data(), greeting_.size(), 0) < 0)
      return std::unexpected(io::OsError{.number = errno});
    return io::Fd(pair[0]);
  }
  io::OsResult<io::Fd> listen_tcp(const Endpoint&, const io::ListenOptions&) override {
    return none();
  }
  io::OsResult<io::Fd> listen_unix(const std::string&) override { return none(); }
  io::OsResult<io::Fd> connect_unix(const std::string&) override { return none(); }
  io::OsResult<io::Fd> connect_unix_datagram(const std::string&) override { return none(); }
  io::OsResult<std::string> read_file(const std::string&, std::size_t) override {
    return std::unexpected(io::OsError{.number = ENOENT});
  }
  io::OsResult<io::FileStatus> status(const std::string&) override {
    return std::unexpected(io::OsError{.number = ENOENT});
  }
  io::OsResult<io::Fd> open_append(const std::string& path) override {
    return files_->open_append(path);
  }

 private:
  static io::OsResult<io::Fd> none() { return std::unexpected(io::OsError{.number = ENOENT}); }

  const std::unique_ptr<io::Broker> files_ = io::make_local_broker();
  mutable std::mutex mutex_;
  std::vector<std::uint16_t> asked_;
  std::vector<std::uint16_t> refusing_;
  std::string greeting_;
  std::vector<io::Fd> far_;
};

}  // namespace merlon::upstream
