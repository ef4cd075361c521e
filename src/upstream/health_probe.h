#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/ip.h"
#include "http/exchange.h"
#include "http/h2_client.h"
#include "io/broker.h"
#include "io/loop.h"
#include "io/socket.h"
#include "io/task.h"
#include "upstream/upstream.h"

/// One health check of one endpoint.
namespace merlon::upstream {

/// What it found.
struct ProbeResult {
  enum class Outcome : std::uint8_t {
    kPassed,
    kBadAnswer,    ///< it answered, and not as it should
    kTimedOut,     ///< the answer did not come whole in time
    kUnreachable,  ///< no connection, no TLS, or it broke off
    kNotMade,      ///< want of the gateway's own: says nothing of the endpoint
  };
  static constexpr std::size_t kOutcomes = 5;
  Outcome outcome = Outcome::kPassed;
  std::string reason;  ///< "answered 503": for people, without bytes of the peer
};
/// "passed", "bad_answer" … Static.
[[nodiscard]] std::string_view outcome_name(ProbeResult::Outcome outcome) noexcept;

/// More of an answer's body is not read: whoever sends more may be well, but not as gRPC.
inline constexpr std::size_t kProbeBodyBytesMax = 16UL * 1024;

/// What came for an answer.
struct ProbeAnswer {
  unsigned status = 0;
  bool grpc = false;      ///< the Content-Type is that of gRPC
  int grpc_status = -1;   ///< -1: there is none
  std::string body;       ///< at most kProbeBodyBytesMax
  bool body_cut = false;  ///< there is more
};

/// Makes checks, one at a time.
class Prober {
 public:
  virtual ~Prober() = default;
  /// Asks `endpoint` as `upstream->health` says, which must be set, and is done by `deadline` but
  /// for a farewell to a peer that does not read.
  [[nodiscard]] virtual io::Task<ProbeResult> probe(std::shared_ptr<const Upstream> upstream,
                                                    Endpoint endpoint, Instant deadline) = 0;
  /// Ends a check in progress, with kNotMade.
  virtual void cancel() noexcept = 0;
};

/// Over the network. Each check has a connection of its own, made as those of requests are: that
/// the endpoint still accepts them is half of what is to be known. `loop` and `broker` outlive it.
class NetworkProber final : public Prober {
 public:
  NetworkProber(io::Loop& loop, io::Broker& broker) noexcept : loop_(loop), broker_(broker) {}
  [[nodiscard]] io::Task<ProbeResult> probe(std::shared_ptr<const Upstream> upstream,
                                            Endpoint endpoint, Instant deadline) override;
  void cancel() noexcept override;

 private:
  [[nodiscard]] io::Task<Result<void>> connect(std::shared_ptr<const Upstream> upstream,
                                               Endpoint endpoint, Instant deadline);
  [[nodiscard]] io::Task<Result<ProbeAnswer>> ask_h1(std::shared_ptr<const Upstream> upstream,
                                                     std::string host, Instant deadline);
  [[nodiscard]] io::Task<Result<ProbeAnswer>> ask_h2(std::shared_ptr<const Upstream> upstream,
                                                     std::string host, Instant deadline);

  io::Loop& loop_;
  io::Broker& broker_;
  std::unique_ptr<io::SocketStream> stream_;  ///< of the check in progress
  http::H2Client* h2_ = nullptr;              ///< on it, while there is one
  bool cancelled_ = false;
};

// ---- The parts of a check, for it and its tests. ----

/// Sends the request of the check over HTTP/1.1, or on a stream of HTTP/2, and reads the answer.
[[nodiscard]] io::Task<Result<ProbeAnswer>> ask_health(http::ClientExchange& exchange,
                                                       io::Loop& loop,
                                                       std::shared_ptr<const Upstream> upstream,
                                                       std::string host, Instant deadline);
/// Whether an answer is a good one.
[[nodiscard]] ProbeResult judge_answer(const HealthCheck& check, const ProbeAnswer& answer);
/// What a check that failed with `error` found.
[[nodiscard]] ProbeResult judge_failure(const Error& error);
/// The message of HealthCheckRequest (grpc.health.v1), with its prefix. `service` has at most 16383
/// bytes.
[[nodiscard]] std::string health_request(std::string_view service);
/// The service that a HealthCheckRequest names, with its prefix: "" for all. nullopt for what is no
/// such message. A view of `framed`.
[[nodiscard]] std::optional<std::string_view> health_request_service(
    std::string_view framed) noexcept;
/// The `status` of a HealthCheckResponse, with its prefix; -1 for what is none.
[[nodiscard]] int health_response_status(std::string_view message) noexcept;

}  // namespace merlon::upstream
