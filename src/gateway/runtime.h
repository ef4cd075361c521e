#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "gateway/held_body.h"
#include "gateway/overload.h"
#include "gateway/plan.h"
#include "io/broker.h"
#include "state/tables.h"
#include "telemetry/counters.h"
#include "telemetry/events.h"

namespace merlon::identity {
class Agent;
}  // namespace merlon::identity

namespace merlon::io {
class WorkPool;
}  // namespace merlon::io

/// What all workers share: the plan, process-wide counts, and where telemetry goes.
namespace merlon::gateway {

/// A plan with the slots that metrics gave its routes and upstreams, and where stands which of
/// their endpoints are healthy.
struct RunningPlan {
  std::shared_ptr<const Plan> plan;
  std::vector<std::uint32_t> route_slots;
  std::vector<std::uint32_t> upstream_slots;
  std::vector<std::uint32_t> waiver_slots;  ///< by config::Waiver::index
  /// By Upstream::index; null: not checked.
  std::vector<std::shared_ptr<const upstream::UpstreamHealth>> health;
};

/// Open connections by client (IPv4 address or IPv6 /64), exact over all workers. Only touched when
/// a connection opens or closes.
class ClientConnections {
 public:
  /// Counts a connection of `client`, unless it has `max` already.
  [[nodiscard]] bool enter(const IpAddress& client, std::uint32_t max);
  void leave(const IpAddress& client) noexcept;

 private:
  static constexpr std::size_t kShards = 64;  // so that workers rarely meet at a mutex
  struct Shard {
    std::mutex mutex;
    std::map<IpAddress, std::uint32_t> counts;
  };
  [[nodiscard]] Shard& shard_of(const IpAddress& client) noexcept;
  std::array<Shard, kShards> shards_;
};

/// What a status listener answers.
struct StatusPage {
  std::uint16_t status = 404;
  std::string_view content_type = "text/plain; charset=utf-8";  ///< static
  std::string body;
};

struct Shared {
  io::Broker& broker;
  telemetry::EventLog& events;
  const Clock& clock;
  ClientConnections clients;
  state::Tables tables;
  std::size_t workers = 1;  ///< that share the memory for verified tokens
  /// `/healthz`, `/readyz` or `/metrics`. Any thread.
  std::function<StatusPage(std::string_view path)> status_page;
  identity::Agent* agent = nullptr;  ///< asks others who callers are; null: nobody does
  HeldBytes held_bytes;              ///< of bodies that are held until they are judged
  io::WorkPool* pool = nullptr;      ///< judges the larger of them
  std::atomic<std::uint32_t> connections{0};
  std::atomic<std::uint32_t> requests_in_flight{0};
  std::atomic<std::uint32_t> health_watches{0};  ///< of the health protocol of gRPC
  std::atomic<Shed> shed{Shed::kNothing};        ///< the monitor decides it
};

}  // namespace merlon::gateway
