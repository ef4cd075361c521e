#pragma once

#include <memory>
#include <vector>

#include "http/h2_client.h"
#include "io/signal.h"
#include "io/socket.h"
#include "io/task.h"

namespace merlon::upstream {

class Cluster;

/// An HTTP/2 connection to one endpoint, which any number of requests share. Its cluster, its own
/// coroutine and each exchange on it hold a reference; the last one frees it.
class SharedConnection final : private http::H2Client::Owner {
 public:
  /// Streams that one connection carries at most: with more, one slow network path or one core of
  /// the upstream would have them all.
  static constexpr std::uint32_t kStreamsMax = 100;

  SharedConnection(Cluster& cluster, std::size_t endpoint,
                   std::unique_ptr<io::SocketStream> stream);

  [[nodiscard]] http::H2Client& client() noexcept { return client_; }
  [[nodiscard]] std::size_t endpoint() const noexcept { return endpoint_; }
  /// Exchanges that it is lent to.
  [[nodiscard]] std::uint32_t users() const noexcept { return users_; }
  /// Exchanges that it was lent to so far.
  [[nodiscard]] std::uint32_t uses() const noexcept { return uses_; }
  /// How many more exchanges fit.
  [[nodiscard]] std::uint32_t room() const noexcept;
  [[nodiscard]] bool has_room() const noexcept { return room() > 0; }
  /// Waits until the upstream has greeted, by `deadline`. Errors: kUpstreamNotH2, kTimedOut.
  [[nodiscard]] io::Task<Result<void>> greeting(Instant deadline);

 private:
  friend class Cluster;
  friend class Lease;
  void changed() noexcept override;
  /// The connection's life. Keeps it alive, and takes it from its cluster at the end.
  [[nodiscard]] static io::Task<void> live(std::shared_ptr<SharedConnection> self);

  Cluster* cluster_;  ///< null once that is gone
  std::unique_ptr<io::SocketStream> stream_;
  http::H2Client client_;
  io::Signal greeted_;
  std::size_t endpoint_;
  std::uint32_t users_ = 0;
  std::uint32_t uses_ = 0;
  bool over_ = false;
  bool told_ = false;  ///< of a GOAWAY with an error
};

/// Connections that outlive their cluster, for whoever ends their worker.
using Orphans = std::vector<std::weak_ptr<SharedConnection>>;

}  // namespace merlon::upstream
