#include "gateway/request.h"
#include "policy/body.h"
#include "tls/tls_stream.h"

/// How often waivers were needed, so that those which are not can be dropped. `docs/policies.md`
/// says which are counted, and when.
namespace merlon::gateway {

/// What policies that only observe would have refused goes to the metrics and the log line.
void RequestWay::note_observations() {
  const RunningPlan& plan = *t_.plan->running;
  for (const std::size_t waiver : t_.observations.waivers()) worker_.count_waiver(plan, waiver);
  const auto observed = t_.observations.all();
  if (observed.empty()) return;
  for (const auto& [refusal, waiver] : observed) {
    worker_.counters().observed.count(refusal.error.code);
    worker_.count_waiver(plan, waiver);
  }
  const Refusal& first = observed.front().refusal;
  t_.observed_line = first.line == nullptr ? std::string() : first.line->file_line();
  t_.observed_class = first.limit_class;
  t_.outcome.observed = telemetry::RefusalRecord{.step = first.step,
                                                 .rule = rule_name(first.error.code),
                                                 .line = t_.observed_line,
                                                 .limit_class = t_.observed_class};
}

void RequestWay::count_waivers() noexcept {
  const RunningPlan& plan = *t_.plan->running;
  const ListenerWaivers& at = listener().waivers;
  worker_.count_waiver(plan, at.cleartext);
  if (at.aes128 != kNoWaiver && connection_.tls != nullptr && connection_.tls->aes128())
    worker_.count_waiver(plan, at.aes128);
  if (worker_.log() == nullptr) worker_.count_waiver(plan, plan.plan->process_waivers.access_log);
  if (t_.route == nullptr || !t_.route->has_waivers) return;
  const RouteWaivers& route = t_.route->waivers;
  if (!t_.outcome.upstream.empty()) worker_.count_waiver(plan, route.upstream.cleartext);
  for (std::size_t i = 0; i < http::kPathOddities.size(); ++i) {
    if (t_.reading.oddities.contains(http::kPathOddities[i]))
      worker_.count_waiver(plan, route.oddities[i]);
  }
  const bool tunnel = t_.answered.count() >= 0;  // which has no body
  if (!tunnel && client_.bytes_received() > policy::kBodyBytesMax)
    worker_.count_waiver(plan, route.body_size);
}

/// Once the upstream has answered: what it took, and how it was reached.
void RequestWay::count_upstream_waivers(const upstream::Lease& lease) noexcept {
  const RunningPlan& plan = *t_.plan->running;
  const RouteWaivers& route = t_.route->waivers;
  if (worker_.loop().now() - t_.started > kRouteTimeMax) worker_.count_waiver(plan, route.time);
  if (t_.outcome.upstream_connect > kConnectTimeMax)
    worker_.count_waiver(plan, route.upstream.connect_time);
  if (t_.outcome.upstream_first_byte > kResponseTimeMax)
    worker_.count_waiver(plan, route.upstream.response_time);
  if (route.upstream.aes128 != kNoWaiver && lease.aes128())
    worker_.count_waiver(plan, route.upstream.aes128);
}

}  // namespace merlon::gateway
