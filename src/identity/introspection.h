#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/secret.h"
#include "base/time.h"
#include "identity/json.h"
#include "identity/token.h"
#include "upstream/https_url.h"
#include "upstream/origin.h"

namespace merlon::tls {
class ClientContext;
}  // namespace merlon::tls

/// Opaque tokens: what an authorisation server says of them (RFC 7662).
namespace merlon::identity {

inline constexpr std::size_t kIntrospectionBytesMax = 64UL * 1024;

/// Whom to ask, and as whom. Immutable; part of a provider.
struct IntrospectionSource {
  upstream::HttpsUrl url;
  std::shared_ptr<tls::ClientContext> tls;
  Secret authorization;  ///< the value of Authorization: Basic (RFC 6749 §2.3.1)
  seconds cache{30};
};

/// "Basic …" for these, each first encoded as a form value (RFC 6749 §2.3.1, appendix B).
[[nodiscard]] std::string basic_authorization(std::string_view client_id, std::string_view secret);
/// True for what may stand behind `Bearer` (RFC 6750 §2.1, b64token).
[[nodiscard]] bool is_bearer_token(std::string_view token) noexcept;
/// The request that asks about `token`.
[[nodiscard]] upstream::FetchRequest introspection_request(const IntrospectionSource& source,
                                                           std::string_view token);
/// Judges an answer with status 200. Errors: kTokenInactive, what speaks against the token (its
/// `iss`, `aud`, dates, type), and kIntrospectionFailed for what is no answer at all. `document` is
/// used for reading.
[[nodiscard]] Result<std::shared_ptr<const Identity>> read_introspection(std::string_view body,
                                                                         const TokenRules& rules,
                                                                         TokenTime now,
                                                                         JsonDocument& document);

}  // namespace merlon::identity
