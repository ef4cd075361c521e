#include "telemetry/identity_families.h"

#include "telemetry/families.h"

namespace merlon::telemetry {

void add_identity_families(const std::vector<IdentityFigures>& all,
                           std::vector<prometheus::MetricFamily>& out) {
  Family keys(out, "merlon_issuer_keys", "Keys of an issuer that are in use; 0: it is closed.",
              MetricType::Gauge);
  Family changes(out, "merlon_issuer_key_changes_total", "Changes of an issuer's set of keys.",
                 MetricType::Counter);
  Family age(out, "merlon_issuer_keys_age_seconds",
             "Time since the keys of an issuer were last fetched.", MetricType::Gauge);
  Family fetches(out, "merlon_issuer_fetches_total", "Fetches of an issuer's keys, by result.",
                 MetricType::Counter);
  Family asked(out, "merlon_introspections_total",
               "Questions about opaque tokens, by result; `remembered` ones were not asked again.",
               MetricType::Counter);
  for (const IdentityFigures& one : all) {
    if (one.introspects) {
      asked.add(one.active, {{"identity", one.name}, {"result", "active"}});
      asked.add(one.refused, {{"identity", one.name}, {"result", "refused"}});
      asked.add(one.failed, {{"identity", one.name}, {"result", "failed"}});
      asked.add(one.remembered, {{"identity", one.name}, {"result", "remembered"}});
      continue;
    }
    keys.add(one.keys, {{"identity", one.name}});
    changes.add(one.changes, {{"identity", one.name}});
    if (one.fetched > 0) age.add(one.keys_age_s, {{"identity", one.name}});
    fetches.add(one.fetched, {{"identity", one.name}, {"result", "fetched"}});
    fetches.add(one.failed, {{"identity", one.name}, {"result", "failed"}});
  }
}

}  // namespace merlon::telemetry
