#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/diagnostics.h"
#include "base/error.h"
#include "base/ip.h"
#include "base/time.h"

/// Active health checks: what is asked of the endpoints of an upstream, and what the answers mean
/// for them. `health_checks.h` asks; workers only read the outcome.
namespace merlon::upstream {

/// How each endpoint of an upstream is asked how it is; compiled from `health`.
struct HealthCheck {
  enum class Kind : std::uint8_t {
    kHttp,  ///< GET of `path`: good is any answer of class 2xx
    kGrpc,  ///< grpc.health.v1.Health/Check of `service`: good is SERVING
  };
  Kind kind = Kind::kHttp;
  std::string path;
  std::string query;
  bool has_query = false;
  std::string service;          ///< may be empty: the server as a whole
  milliseconds interval{5000};  ///< from the beginning of one check to that of the next
  milliseconds timeout{1000};   ///< of one check, from the connection to the end of the answer
  std::uint32_t unhealthy_after = 3;
  std::uint32_t healthy_after = 2;
  Mark at{};
  /// Two checks with the same identity ask the same of the same terms: what is known of an endpoint
  /// outlives a reload that keeps it.
  std::string identity;
};

/// Every endpoint of the upstream failed its checks: nobody is asked, and the client is told 503.
inline constexpr Error kNoHealthyEndpoint{.code = code::kUpstreamUnhealthy,
                                          .blame = Blame::kUpstream,
                                          .retryable = true,
                                          .what = "every endpoint failed its health checks"};

/// Whether one endpoint may have requests. One thread writes it, any may read. In use until a check
/// says otherwise: before the first one nothing speaks against it.
class CheckedEndpoint {
 public:
  explicit CheckedEndpoint(const Endpoint& address)
      : address_(address), text_(address.to_string()) {}
  CheckedEndpoint(const CheckedEndpoint&) = delete;
  CheckedEndpoint& operator=(const CheckedEndpoint&) = delete;

  [[nodiscard]] const Endpoint& address() const noexcept { return address_; }
  /// "10.0.0.1:80".
  [[nodiscard]] const std::string& text() const noexcept { return text_; }
  [[nodiscard]] bool in_use() const noexcept { return in_use_.load(std::memory_order_relaxed); }
  /// How often it became healthy again: what was held against it earlier is out of date then.
  [[nodiscard]] std::uint32_t recoveries() const noexcept {
    return recoveries_.load(std::memory_order_relaxed);
  }
  /// By the thread that checks.
  void set_in_use(bool in_use) noexcept {
    if (in_use) recoveries_.fetch_add(1, std::memory_order_relaxed);
    in_use_.store(in_use, std::memory_order_relaxed);
  }

 private:
  const Endpoint address_;
  const std::string text_;
  std::atomic<bool> in_use_{true};
  std::atomic<std::uint32_t> recoveries_{0};
};

/// The endpoints of one upstream, each of them once.
class UpstreamHealth {
 public:
  explicit UpstreamHealth(std::vector<std::shared_ptr<const CheckedEndpoint>> endpoints)
      : endpoints_(std::move(endpoints)) {}

  /// nullptr: not one of them.
  [[nodiscard]] const CheckedEndpoint* find(const Endpoint& address) const noexcept;
  /// Cost: one load as a rule, and one for each endpoint that is out of use before the first that
  /// is not.
  [[nodiscard]] bool none_in_use() const noexcept;
  [[nodiscard]] std::size_t in_use() const noexcept;
  [[nodiscard]] const auto& endpoints() const noexcept { return endpoints_; }

 private:
  const std::vector<std::shared_ptr<const CheckedEndpoint>> endpoints_;
};

/// Counts the checks of one endpoint and says when they change what it is.
class HealthCount {
 public:
  enum class Change : std::uint8_t { kNone, kUnhealthy, kHealthy };

  /// The first check of all decides alone, so that a gateway which starts beside a dead endpoint
  /// does not send it requests until there are enough of them.
  [[nodiscard]] Change take(bool passed, const HealthCheck& check) noexcept;
  /// Checks in a row that spoke against what it is taken for; of a change, those that made it.
  [[nodiscard]] std::uint32_t in_a_row() const noexcept { return in_a_row_; }
  [[nodiscard]] bool healthy() const noexcept { return healthy_; }

 private:
  std::uint32_t in_a_row_ = 0;
  bool healthy_ = true;
  bool decided_ = false;  ///< by a check
  bool changed_ = false;  ///< by the last one
};

}  // namespace merlon::upstream
