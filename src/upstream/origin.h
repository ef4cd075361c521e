#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "io/broker.h"
#include "io/loop.h"
#include "io/task.h"
#include "tls/tls_stream.h"
#include "upstream/https_url.h"
#include "upstream/resolver.h"

namespace merlon::upstream {

/// A request that the gateway makes on its own account. All of it is copied.
struct FetchRequest {
  std::string method = "GET";
  std::string path;  ///< with query, as HttpsUrl has them
  std::string query{};
  bool has_query = false;
  std::vector<std::pair<std::string, std::string>> fields{};
  std::string body{};  ///< sent for POST
  std::size_t body_bytes_max = 64UL * 1024;
};

struct FetchResponse {
  unsigned status = 0;
  std::string cache_control{};  ///< these are of the first line of their name
  std::string age{};
  std::string expires{};
  std::string date{};
  std::string body{};
};

/// One https server that things are fetched from, over verified TLS and HTTP/1.1. Follows no
/// redirect. Keeps a few connections. One loop; outlives its fetches.
class Origin {
 public:
  struct Settings {
    std::string host;
    std::uint16_t port = 443;
    std::shared_ptr<tls::ClientContext> tls;
    /// Only addresses of the public Internet are connected to: somebody else named the host.
    bool public_only = false;
  };
  static constexpr std::size_t kIdleMax = 16;

  Origin(io::Loop& loop, io::Broker& broker, Resolver& resolver, Settings settings);
  Origin(const Origin&) = delete;
  Origin& operator=(const Origin&) = delete;

  /// Asks, and reads the whole response, all before `deadline`; what is larger than
  /// `body_bytes_max` is an error (kUpstreamBadResponse). Other errors: of Resolver::resolve, of
  /// tls::connect_tls, of http::ClientExchange, kUpstreamForbidden when no address may be connected
  /// to.
  [[nodiscard]] io::Task<Result<FetchResponse>> fetch(FetchRequest request, Instant deadline);
  /// Ends all fetches with kCancelled, and those that come: the owner is about to go.
  void cancel() noexcept;

 private:
  /// A stream that `cancel` reaches while it is used.
  class InUse {
   public:
    InUse(Origin& origin, tls::TlsStream& stream) : origin_(origin), stream_(stream) {
      origin_.in_use_.push_back(&stream);
    }
    ~InUse() { std::erase(origin_.in_use_, &stream_); }
    InUse(const InUse&) = delete;
    InUse& operator=(const InUse&) = delete;

   private:
    Origin& origin_;
    tls::TlsStream& stream_;
  };
  struct Idle {
    std::unique_ptr<tls::TlsStream> stream;
    Instant since;
  };
  [[nodiscard]] std::unique_ptr<tls::TlsStream> reuse() noexcept;
  [[nodiscard]] io::Task<Result<std::unique_ptr<tls::TlsStream>>> connect(Instant deadline);
  [[nodiscard]] io::Task<Result<std::unique_ptr<tls::TlsStream>>> connect_to(IpAddress address,
                                                                             Instant deadline);
  [[nodiscard]] io::Task<Result<FetchResponse>> exchange(tls::TlsStream& stream,
                                                         const FetchRequest& request,
                                                         Instant deadline, bool& reusable);

  io::Loop& loop_;
  io::Broker& broker_;
  Resolver& resolver_;
  const Settings settings_;
  const std::string authority_;
  std::vector<Idle> idle_;
  std::vector<tls::TlsStream*> in_use_;
  bool cancelled_ = false;
};

}  // namespace merlon::upstream
