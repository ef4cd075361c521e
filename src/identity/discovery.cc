#include "identity/discovery.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/ascii.h"
#include "identity/date.h"
#include "identity/json.h"

namespace merlon::identity {
namespace {

using Bad = std::unexpected<std::string>;

std::optional<std::int64_t> number(std::string_view text) noexcept {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size() && value >= 0;
  return whole ? std::optional(value) : std::nullopt;
}

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 §5.6.7); the obsolete forms are nobody's any more.
std::optional<TokenTime> http_date(std::string_view text) {
  constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
  if (text.size() != 29 || !text.ends_with(" GMT") || text.substr(3, 2) != ", ") {
    return std::nullopt;
  }
  const std::size_t month = kMonths.find(text.substr(8, 3));
  if (month == std::string_view::npos || month % 3 != 0) return std::nullopt;
  return parse_date(fmt::format("{}-{:02}-{}T{}Z", text.substr(12, 4), month / 3 + 1,
                                text.substr(5, 2), text.substr(17, 8)));
}

std::optional<std::int64_t> lifetime_by_dates(const upstream::FetchResponse& response) {
  if (response.expires.empty()) return std::nullopt;
  const auto expires = http_date(response.expires);
  if (!expires.has_value()) return 0;  // RFC 9111 §5.3: in the past
  const auto date = http_date(response.date);
  if (!date.has_value()) return std::nullopt;
  return std::max<std::int64_t>(*expires - *date, 0);
}

}  // namespace

std::vector<upstream::HttpsUrl> metadata_urls(std::string_view issuer) {
  auto url = upstream::parse_https_url(issuer);
  if (!url.has_value() || url->has_query) return {};
  std::string path = url->path;
  while (path.ends_with('/')) path.pop_back();
  upstream::HttpsUrl openid = *url;
  openid.path = path + "/.well-known/openid-configuration";
  upstream::HttpsUrl oauth = *url;
  oauth.path = "/.well-known/oauth-authorization-server" + path;
  return {openid, oauth};
}

std::expected<upstream::HttpsUrl, std::string> read_metadata(std::string_view text,
                                                             std::string_view issuer) {
  JsonDocument document;
  const JsonLimits limits{
      .bytes_max = kMetadataBytesMax, .values_max = 4096, .members_max = 256, .depth_max = 8};
  const Result<JsonValue> root = document.read(text, limits);
  if (!root || !root->is(JsonKind::kObject)) return Bad("it is no strict JSON object");
  const JsonValue stated = root->find("issuer");
  if (!stated.is(JsonKind::kString) || stated.text() != issuer) {
    return Bad("it speaks for another issuer");
  }
  const JsonValue keys = root->find("jwks_uri");
  if (!keys.is(JsonKind::kString)) return Bad("it names no `jwks_uri`");
  auto url = upstream::parse_https_url(keys.text());
  if (!url.has_value()) return Bad("its `jwks_uri` is no https URL");
  return std::move(*url);
}

seconds freshness(const upstream::FetchResponse& response) {
  std::optional<std::int64_t> fresh_s = lifetime_by_dates(response);
  for (std::string_view rest = response.cache_control; !rest.empty();) {
    const std::string_view one = trimmed(rest.substr(0, rest.find(',')));
    rest.remove_prefix(std::min(
        rest.size(), rest.find(',') == std::string_view::npos ? rest.size() : rest.find(',') + 1));
    if (ascii::iequals(one, "no-store") || ascii::iequals(one, "no-cache")) return kFreshMin;
    constexpr std::string_view kMaxAge = "max-age=";
    if (one.size() > kMaxAge.size() && ascii::iequals(one.substr(0, kMaxAge.size()), kMaxAge)) {
      fresh_s = number(one.substr(kMaxAge.size()));
    }
  }
  if (!fresh_s.has_value()) return kFreshDefault;
  const std::int64_t spent_s = number(trimmed(response.age)).value_or(0);
  const std::int64_t capped_s = std::min<std::int64_t>(*fresh_s, kFreshMax.count());
  return std::clamp(seconds{capped_s - std::min(spent_s, capped_s)}, kFreshMin, kFreshMax);
}

}  // namespace merlon::identity
