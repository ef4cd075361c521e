#include "telemetry/health_families.h"

#include "telemetry/families.h"

namespace merlon::telemetry {

void add_health_families(const std::vector<HealthFigures>& all,
                         std::vector<prometheus::MetricFamily>& out) {
  Family checks(out, "merlon_upstream_health_checks_total",
                "Health checks of endpoints, by result.", MetricType::Counter);
  for (const HealthFigures& one : all) {
    for (const auto& [result, count] : one.results)
      checks.add(count, {{"upstream", one.upstream}, {"result", result}});
  }
}

}  // namespace merlon::telemetry
