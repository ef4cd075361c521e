#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "upstream/https_url.h"
#include "upstream/origin.h"

/// What issuers publish about themselves.
namespace merlon::identity {

inline constexpr std::size_t kMetadataBytesMax = 64UL * 1024;

/// Where the metadata of an issuer may stand, in the order to try: OpenID Connect Discovery 1.0 §4,
/// then RFC 8414 §3. Empty when the issuer is no https URL.
[[nodiscard]] std::vector<upstream::HttpsUrl> metadata_urls(std::string_view issuer);

/// The `jwks_uri` of a metadata document (RFC 8414 §2). The error says what is wrong, without bytes
/// of the document. Its `issuer` must equal ours byte by byte (RFC 8414 §3.3): otherwise somebody
/// speaks for another.
[[nodiscard]] std::expected<upstream::HttpsUrl, std::string> read_metadata(std::string_view text,
                                                                           std::string_view issuer);

inline constexpr seconds kFreshMin{5};
inline constexpr seconds kFreshDefault{300};
inline constexpr seconds kFreshMax{24 * 3600};
/// How long a response may be used without asking again: `max-age`, or else `Expires` less `Date`,
/// and less `Age` (RFC 9111 §4.2), within kFreshMin and kFreshMax; kFreshMin for no-store, no-cache
/// and an `Expires` that is no date; kFreshDefault without a word.
[[nodiscard]] seconds freshness(const upstream::FetchResponse& response);

}  // namespace merlon::identity
