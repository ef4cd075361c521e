#pragma once

#include <prometheus/metric_family.h>

#include <cstdint>
#include <string>
#include <vector>

namespace merlon::telemetry {

/// How an issuer whose keys are fetched, or a server that is asked about tokens, stands.
struct IdentityFigures {
  std::string name;          ///< under `identity`
  bool introspects = false;  ///< false: the keys count, true: the questions
  std::uint64_t keys = 0;    ///< in use
  std::uint64_t changes = 0;
  std::uint64_t fetched = 0;
  std::uint64_t failed = 0;  ///< fetches or questions
  double keys_age_s = 0;     ///< since they were last fetched
  std::uint64_t active = 0;
  std::uint64_t refused = 0;
  std::uint64_t remembered = 0;
};

/// Appends their metrics; a source for Metrics::add_source.
void add_identity_families(const std::vector<IdentityFigures>& all,
                           std::vector<prometheus::MetricFamily>& out);

}  // namespace merlon::telemetry
