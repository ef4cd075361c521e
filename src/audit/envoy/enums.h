#pragma once

#include <string_view>

/// Enumerations that rules ask about, as the table of fields calls them: it knows their numbers.
namespace merlon::audit::envoy::enums {

inline constexpr std::string_view kCodecType =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.CodecType";
inline constexpr std::string_view kDenominator = "envoy.type.v3.FractionalPercent.DenominatorType";
inline constexpr std::string_view kDiscoveryType = "envoy.config.cluster.v3.Cluster.DiscoveryType";
inline constexpr std::string_view kEscapedSlashes =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager."
    "PathWithEscapedSlashesAction";
inline constexpr std::string_view kForwardClientCert =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager."
    "ForwardClientCertDetails";
inline constexpr std::string_view kPluginFailure = "envoy.extensions.wasm.v3.FailurePolicy";
inline constexpr std::string_view kProtocol = "envoy.config.core.v3.SocketAddress.Protocol";
inline constexpr std::string_view kRbacAction = "envoy.config.rbac.v3.RBAC.Action";
inline constexpr std::string_view kSameSite =
    "envoy.extensions.filters.http.oauth2.v3.CookieConfig.SameSite";
inline constexpr std::string_view kServerHeader =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager."
    "ServerHeaderTransformation";
inline constexpr std::string_view kStaplePolicy =
    "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext.OcspStaplePolicy";
inline constexpr std::string_view kTlsProtocol =
    "envoy.extensions.transport_sockets.tls.v3.TlsParameters.TlsProtocol";
inline constexpr std::string_view kTlsRequirement =
    "envoy.config.route.v3.VirtualHost.TlsRequirementType";
inline constexpr std::string_view kTrafficDirection = "envoy.config.core.v3.TrafficDirection";
inline constexpr std::string_view kTrustChain =
    "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext.TrustChainVerification";
inline constexpr std::string_view kUnderscores =
    "envoy.config.core.v3.HttpProtocolOptions.HeadersWithUnderscoresAction";

}  // namespace merlon::audit::envoy::enums
