#include <algorithm>

#include "gateway/request.h"
#include "http/grpc.h"
#include "upstream/health_probe.h"

/// The health protocol of gRPC (grpc.health.v1), for whoever watches the gateway itself.
namespace merlon::gateway {

using http::BodyPart;

namespace {

// A health check names a service of which nothing is known here but the empty name.
constexpr std::size_t kHealthRequestBytesMax = 1024;
// HealthCheckResponse: a prefix, and field 1 with the value 1, 2 or 3.
constexpr std::string_view kServing("\0\0\0\0\2\x08\1", 7);
constexpr std::string_view kNotServing("\0\0\0\0\2\x08\2", 7);
constexpr std::string_view kServiceUnknown("\0\0\0\0\2\x08\3", 7);

// Of the places in reserve for status pages, half stay for those that ask once.
constexpr std::uint32_t kWatchesMax = 32;
// How often a watch looks for a change.
constexpr milliseconds kWatchPulse{250};

constexpr Error kNoHealthRequest{.code = code::kBadGrpcMessage,
                                 .blame = Blame::kClient,
                                 .what = "no request of the health protocol"};

/// A place among the watches of the process, while there is one.
class WatchPlace {
 public:
  explicit WatchPlace(std::atomic<std::uint32_t>& taken) noexcept
      : taken_(taken), got_(taken.fetch_add(1, std::memory_order_relaxed) < kWatchesMax) {}
  ~WatchPlace() { taken_.fetch_sub(1, std::memory_order_relaxed); }
  WatchPlace(const WatchPlace&) = delete;
  WatchPlace& operator=(const WatchPlace&) = delete;
  [[nodiscard]] bool got() const noexcept { return got_; }

 private:
  std::atomic<std::uint32_t>& taken_;
  const bool got_;
};

}  // namespace

io::Task<void> RequestWay::serve_grpc_health() {
  const std::string_view method = t_.reading.path.substr(kGrpcHealthService.size());
  const bool watch = method == "Watch";
  // Over HTTP/1.1 there is no gRPC.
  if (!t_.grpc.active || (!watch && method != "Check")) {
    co_await refuse({.status = 404,
                     .error = {.code = code::kNoRoute,
                               .blame = Blame::kClient,
                               .what = "only Check and Watch of the health service are served"},
                     .step = "route",
                     .line = &listener().at});
    co_return;
  }
  std::string asked;
  const Result<void> read = co_await read_health_request(asked);
  const auto service = upstream::health_request_service(asked);
  if (!read || !service.has_value()) {
    const Error why = read ? kNoHealthRequest : read.error();
    co_await refuse(framing_refusal(why));
    co_return;
  }
  const bool known = service->empty();
  if (watch) {
    co_await watch_health(known);
    co_return;
  }
  if (!known) {
    t_.body.clear();
    t_.grpc.refuse(t_.reply, 404, http::GrpcStatus::kNotFound);
    co_await send_own();
    co_return;
  }
  t_.body = health_now(true);
  own_answer(200, "application/grpc");
  co_await send_own(t_.grpc.succeed());
}

/// The response for now, as /readyz has it. Of services by name nothing is ever known.
std::string_view RequestWay::health_now(bool known) const {
  if (!known) return kServiceUnknown;
  const bool ready = worker_.shared().status_page("/readyz").status == 200;
  return ready && !worker_.draining() ? kServing : kNotServing;
}

/// grpc.health.v1.Health/Watch: how it is now, and each change, until the client goes, or the
/// listener, or the gateway.
io::Task<void> RequestWay::watch_health(bool known) {
  const WatchPlace place(worker_.shared().health_watches);
  if (!place.got()) {
    co_await refuse({.status = 429,
                     .error = {.code = code::kOverloaded,
                               .blame = Blame::kClient,
                               .what = "too many clients watch the gateway's health"},
                     .step = "route",
                     .line = &listener().at});
    co_return;
  }
  std::string_view told = health_now(known);
  t_.body.clear();
  own_answer(200, "application/grpc");
  t_.reply.framing = http::Framing::kChunked;
  t_.reply.has_content_length = false;
  t_.outcome.status = 200;
  dress_response(t_.reply);
  Result<void> sent = co_await client_.send_head(t_.reply, {.data = told});
  t_.answered = std::chrono::duration_cast<microseconds>(worker_.loop().now() - t_.started);
  while (sent) {
    const std::string_view now = health_now(known);
    if (now != told) {
      told = now;
      sent = co_await client_.send_body({.data = told});
    }
    if (!sent || worker_.draining()) break;
    const Instant pulse = worker_.loop().now() + kWatchPulse;
    const Result<void> woken =
        co_await turn_.wait(std::min(pulse, t_.grpc.deadline.value_or(Instant::max())));
    if (!woken && woken.error().code != code::kTimedOut) co_return;  // the client is gone
    if (!follow_plan() || t_.grpc.expired(worker_.loop().now())) break;
  }
  if (!sent) co_return;
  const bool expired = t_.grpc.expired(worker_.loop().now());
  if (!expired) client_.close_after();
  const BodyPart end{.data = {}, .last = true, .trailers = t_.grpc.fail(expired ? 504 : 503)};
  [[maybe_unused]] const Result<void> ended = co_await client_.send_body(end);
}

/// A watch lasts over reloads, and keeps no old plan. False: its listener no longer serves health.
bool RequestWay::follow_plan() {
  WorkerPlan& newest = worker_.plan();
  if (&*t_.plan == &newest) return true;
  if (!newest.has_door(door_)) return false;
  t_.plan = PlanPin(newest);
  return listener().serve.health;
}

io::Task<Result<void>> RequestWay::read_health_request(std::string& asked) {
  for (;;) {
    const Result<BodyPart> part =
        co_await client_.read_body(t_.grpc.deadline.value_or(Instant::max()));
    if (!part) co_return std::unexpected(part.error());
    if (asked.size() + part->data.size() > kHealthRequestBytesMax)
      co_return std::unexpected(kNoHealthRequest);
    asked += part->data;
    if (part->last) co_return Result<void>{};
  }
}

}  // namespace merlon::gateway
