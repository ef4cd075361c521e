#include <fmt/format.h>

#include <algorithm>

#include "gateway/identity_fields.h"
#include "gateway/own_fields.h"
#include "gateway/request.h"
#include "http/ip_text.h"
#include "telemetry/traceparent.h"
#include "tls/tls_stream.h"

/// Step 12: what the head of a request becomes on its way to the upstream.
namespace merlon::gateway {

using http::FieldId;

namespace {

// Those that the gateway adds: Max-Forwards, X-Forwarded-*, Forwarded, Via, Client-Cert,
// X-Request-Id, traceparent, grpc-timeout, Sec-WebSocket-Key.
constexpr std::size_t kOwnFieldsMax = 11;
static_assert(http::Fields::kReceivedMax + kIdentityFieldsMax + kOwnFieldsMax <=
              http::Fields::kCapacity);

// The pseudonym in Via (RFC 9110 §7.6.3): no product, no host name.
std::string_view via_of(std::string_view protocol) noexcept {
  if (protocol == "HTTP/2.0") return "2.0 gateway";
  return protocol == "HTTP/1.0" ? "1.0 gateway" : "1.1 gateway";
}

}  // namespace

/// Changes the client's head into the upstream's: what belongs to the connection or only a gateway
/// may say goes out, then the gateway's own goes in, so that no client can take it away again.
void RequestWay::prepare_upstream_head(http::RequestHead& out, OwnFields& own) {
  const Route& route = *t_.route;
  http::Fields& fields = out.fields;
  http::drop_client_claims(fields);
  http::drop_hop_by_hop(fields);
  fields.drop(FieldId::kExpect);  // answered by the gateway itself
  const std::optional<std::uint32_t> hops = hops_left(out);
  fields.drop(FieldId::kMaxForwards);
  if (hops) {
    const auto text = fmt::format_to_n(own.max_forwards.data(), own.max_forwards.size(), "{}",
                                       *hops - 1);  // 0 was answered here
    fields.add("Max-Forwards", {own.max_forwards.data(), text.size}, FieldId::kMaxForwards);
  }
  fields.drop(FieldId::kVia);
  fields.drop(FieldId::kXRequestId);
  if (!route.forward_authorization) {
    fields.drop(FieldId::kAuthorization);
    fields.drop(FieldId::kDpop);
  }
  for (const std::string& name : t_.plan->plan().credential_fields)
    fields.drop(std::string_view(name));
  if (t_.identity != nullptr && !route.identity_fields.empty())
    add_identity_fields(route, *t_.identity, t_.identity_text, fields);
  const auto parent = telemetry::parse_traceparent(fields.value(FieldId::kTraceparent));
  fields.drop(FieldId::kTraceparent);
  if (!parent) fields.drop(FieldId::kTracestate);
  const telemetry::TraceContext trace = parent ? telemetry::child_of(*parent, worker_.ids())
                                               : telemetry::new_trace(t_.id, worker_.ids(), false);
  own.traceparent = telemetry::format_traceparent(trace);
  if (parent) t_.trace_id = parent->trace_id;

  const bool secure = connection_.secure() || t_.reading.client.scheme == http::Scheme::kHttps;
  const http::Scheme scheme = secure ? http::Scheme::kHttps : http::Scheme::kHttp;
  fields.add("X-Forwarded-For",
             http::write_forwarded_for(t_.reading.client, connection_.client, own.forwarded_for),
             FieldId::kXForwardedFor);
  fields.add("X-Forwarded-Proto", secure ? "https" : "http", FieldId::kXForwardedProto);
  if (!t_.reading.authority.empty())
    fields.add("X-Forwarded-Host", t_.reading.authority, FieldId::kXForwardedHost);
  const std::string_view forwarded =
      http::write_forwarded(t_.reading.client, t_.reading.authority, scheme, own.forwarded);
  if (!forwarded.empty()) fields.add("Forwarded", forwarded, FieldId::kForwarded);
  fields.add("Via", via_of(client_.protocol()), FieldId::kVia);
  if (route.forward_client_cert && connection_.tls != nullptr &&
      connection_.tls->client_certificate() != nullptr) {
    fields.add("Client-Cert", connection_.tls->client_certificate()->field, FieldId::kClientCert);
  }
  fields.add("X-Request-Id", t_.id.view(), FieldId::kXRequestId);
  fields.add("traceparent", own.traceparent.view(), FieldId::kTraceparent);
  prepare_handshake(out, own);
  out.target.path = upstream_path(route, t_.reading.path, t_.path);
}

/// What is left of it, for each attempt anew: waiting for a body or a place takes time.
void RequestWay::pass_deadline_on(http::RequestHead& out, OwnFields& own) const noexcept {
  if (!t_.grpc.deadline) return;
  own.grpc_timeout = http::GrpcTimeoutText(*t_.grpc.deadline - worker_.loop().clock().now());
  out.fields.drop(FieldId::kGrpcTimeout);
  out.fields.add("grpc-timeout", own.grpc_timeout.view(), FieldId::kGrpcTimeout);
}

}  // namespace merlon::gateway
