#pragma once

#include <prometheus/metric_family.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace merlon::telemetry {

/// Health checks of one upstream so far.
struct HealthFigures {
  std::string upstream;
  std::vector<std::pair<std::string_view, std::uint64_t>> results;  ///< names are static
};

/// Appends their metrics; a source for Metrics::add_source.
void add_health_families(const std::vector<HealthFigures>& all,
                         std::vector<prometheus::MetricFamily>& out);

}  // namespace merlon::telemetry
