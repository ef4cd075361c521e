#pragma once

#include <prometheus/metric_family.h>

#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/time.h"
#include "telemetry/counters.h"

/// Builds metric families for prometheus-cpp: what Metrics and its sources are written with.
namespace merlon::telemetry {

using MetricType = prometheus::MetricType;

/// A histogram of all workers.
struct Buckets {
  std::array<std::uint64_t, LatencyHistogram::kBounds.size() + 1> counts{};
  std::uint64_t sum_us = 0;
};

[[nodiscard]] inline double to_seconds(WallTime time) noexcept {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}
[[nodiscard]] constexpr double to_seconds(microseconds time) noexcept {
  return static_cast<double>(time.count()) / 1e6;
}

/// Adds one family to a list; a family without values is taken out again. Several may live at once
/// if they go in the reverse order, as local variables do.
class Family {
 public:
  using Labels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

  Family(std::vector<prometheus::MetricFamily>& out, const char* name, const char* help,
         MetricType type)
      : out_(out), at_(out.size()) {
    out.push_back({.name = name, .help = help, .type = type, .metric = {}});
  }
  Family(const Family&) = delete;
  Family& operator=(const Family&) = delete;
  ~Family() {
    // Families may have been added behind this one meanwhile.
    if (family().metric.empty()) out_.erase(out_.begin() + static_cast<std::ptrdiff_t>(at_));
  }

  Family& add(double value, Labels labels = {}) {
    prometheus::ClientMetric& metric = add_metric(labels);
    (family().type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
    return *this;
  }
  template <std::integral T>
  Family& add(T value, Labels labels = {}) {
    return add(static_cast<double>(value), labels);
  }
  Family& add(const Buckets& buckets, Labels labels = {}) {
    prometheus::ClientMetric::Histogram& histogram = add_metric(labels).histogram;
    std::uint64_t cumulative = 0;
    for (std::size_t i = 0; i < buckets.counts.size(); ++i) {
      cumulative += buckets.counts[i];
      const double bound = i < LatencyHistogram::kBounds.size()
                               ? to_seconds(LatencyHistogram::kBounds[i])
                               : std::numeric_limits<double>::infinity();
      histogram.bucket.push_back({.cumulative_count = cumulative, .upper_bound = bound});
    }
    histogram.sample_count = cumulative;
    histogram.sample_sum = to_seconds(microseconds{static_cast<std::int64_t>(buckets.sum_us)});
    return *this;
  }

 private:
  prometheus::MetricFamily& family() { return out_[at_]; }
  prometheus::ClientMetric& add_metric(Labels labels) {
    prometheus::ClientMetric& metric = family().metric.emplace_back();
    for (const auto& [name, value] : labels)
      metric.label.push_back({.name = std::string(name), .value = std::string(value)});
    return metric;
  }

  std::vector<prometheus::MetricFamily>& out_;
  const std::size_t at_;
};

}  // namespace merlon::telemetry
