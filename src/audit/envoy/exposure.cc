#include "audit/envoy/exposure.h"

#include <fmt/format.h>

#include <algorithm>

namespace merlon::audit::envoy {
namespace {

constexpr std::size_t kRowsMax = 5000;

std::string add_word(std::string list, std::string_view word) {
  if (!list.empty()) list += ", ";
  return list.append(word);
}

std::string authentication(const Hcm& hcm, const Route& route) {
  std::string out;
  if (has_mutual_tls(*hcm.chain)) out = "mTLS";
  for (const Filter& filter : hcm.filters) {
    if (decides(route, filter)) {
      out = add_word(std::move(out), filter.kind);
    }
  }
  return out.empty() ? "-" : out;
}

std::string limit(const Hcm& hcm, const Route& route) {
  std::string out;
  for (const Filter& filter : hcm.filters) {
    const bool limits =
        filter.is("local_ratelimit") || filter.is("ratelimit") || filter.is("rate_limit_quota");
    if (limits && !is_disabled(route, filter)) out = add_word(std::move(out), filter.kind);
  }
  return out.empty() ? "-" : out;
}

std::string tls(const FilterChain& chain) {
  if (chain.tls == nullptr) return chain.transport_unknown ? "?" : "-";
  const Message& params = chain.tls->params;
  const EnumWord low = params.word("tls_minimum_protocol_version", enums::kTlsProtocol);
  const EnumWord high = params.word("tls_maximum_protocol_version", enums::kTlsProtocol);
  return fmt::format("{} to {}", low.empty() || low == "TLS_AUTO" ? "TLSv1_2" : low.text,
                     high.empty() || high == "TLS_AUTO" ? "TLSv1_3" : high.text);
}

void upstream(const Model& model, const Route& route, ExposureRow& row) {
  row.upstream_tls = "-";
  if (route.redirect) {
    row.upstream = "redirect";
    return;
  }
  if (route.direct) {
    row.upstream = fmt::format("answer {}", route.direct.text("status"));
    return;
  }
  for (const std::string_view name : clusters_of(route)) {
    row.upstream = add_word(std::move(row.upstream), name);
    const Cluster* cluster = model.cluster(name);
    if (cluster == nullptr || cluster->transport_unknown) {
      row.upstream_tls = "?";
    } else if (cluster->tls != nullptr) {
      const bool verified =
          cluster->tls->validation_elsewhere || cluster->tls->validation.has("trusted_ca");
      row.upstream_tls = verified ? "verified" : "unverified";
    }
  }
  if (row.upstream.empty()) row.upstream = "?";
}

std::string hosts(const VirtualHost& host) {
  std::string out;
  for (const std::string_view domain : host.domains) {
    if (!out.empty()) out += ' ';
    out.append(domain);
  }
  return out;
}

}  // namespace

void map_exposure(Inspection& inspection) {
  for (const Hcm& hcm : inspection.model.hcms) {
    std::string listener = hcm.listener->socket();
    if (listener.empty()) listener = fmt::format("({})", hcm.listener->name);
    for (const Route* route : hcm.all_routes()) {
      if (inspection.out.exposure.size() >= kRowsMax) return;
      ExposureRow row;
      row.at = route->at.at();
      row.listener = listener;
      row.host = route->host == nullptr ? "?" : hosts(*route->host);
      row.route = route->path;
      row.auth = authentication(hcm, *route);
      row.limit = limit(hcm, *route);
      row.tls = tls(*hcm.chain);
      upstream(inspection.model, *route, row);
      inspection.out.exposure.push_back(std::move(row));
    }
  }
}

}  // namespace merlon::audit::envoy
