#include "identity/provider_config.h"

#include <set>

#include "base/ascii.h"
#include "http/field_id.h"

namespace merlon::identity {
namespace {

using config::Object;
using config::Reader;
using config::Type;
using std::chrono::hours;

constexpr std::size_t kAudiencesMax = 16;
constexpr std::size_t kUrlBytesMax = 1024;

/// RFC 8414 §2: https, a host, no query and no fragment. It is compared byte by byte with `iss`.
std::expected<std::string, std::string> parse_issuer(std::string_view text) {
  constexpr std::string_view kScheme = "https://";
  if (!text.starts_with(kScheme)) return std::unexpected("an issuer is an https URL");
  if (text.size() > kUrlBytesMax) return std::unexpected("it is longer than 1024 bytes");
  for (const char c : text) {
    if (c <= 0x20 || c > 0x7e) return std::unexpected("a URL is printable ASCII");
    if (c == '?' || c == '#') return std::unexpected("an issuer has no query and no fragment");
  }
  const std::string_view rest = text.substr(kScheme.size());
  const std::string_view authority = rest.substr(0, rest.find('/'));
  if (authority.empty() || authority.contains('@')) {
    return std::unexpected("an issuer has a host, and no user");
  }
  return std::string(text);
}

std::expected<std::string, std::string> parse_header(std::string_view text) {
  if (!ascii::is_token(text) || text.size() > 64) {
    return std::unexpected("the name of a field is made of letters, digits and a few signs");
  }
  const http::FieldId id = http::field_id(text);
  const bool free =
      id == http::FieldId::kXApiKey ||
      (id == http::FieldId::kOther && http::aliased_field(text) == http::FieldId::kOther);
  if (!free) return std::unexpected("this field has another meaning");
  return std::string(text);
}

Type<std::string> plain(
    std::string name, std::string example,
    std::function<std::expected<std::string, std::string>(std::string_view)> parse) {
  return config::custom<std::string>(
      {.name = std::move(name),
       .example = std::move(example),
       .parse = std::move(parse),
       .format = [](const std::string& v) { return config::detail::yaml_scalar(v); }});
}

const Object<ApiKeysConfig>& api_keys_schema() {
  static const auto schema =
      Object<ApiKeysConfig>("api keys", "API keys, kept as hashes in a file.")
          .required("file", &ApiKeysConfig::file, config::secret_file(),
                    "YAML: a list `keys` of entries that `merlon key new` prints.")
          .field("header", &ApiKeysConfig::header,
                 plain("the name of a field", "X-Api-Key", parse_header),
                 "Where clients send the key.")
          .mark(&ApiKeysConfig::at);
  return schema;
}

std::vector<std::pair<std::string, Algorithm>> algorithm_words() {
  std::vector<std::pair<std::string, Algorithm>> words;
  for (std::size_t i = 0; i < kAlgorithmCount; ++i) {
    const auto algorithm = static_cast<Algorithm>(i);
    words.emplace_back(name_of(algorithm), algorithm);
  }
  return words;
}

/// Keys that mean something for tokens only.
void refuse_token_keys(const ProviderConfig& config, Reader& reader) {
  const auto inert = [&](const Mark& at, const char* key) {
    reader.error(at, std::string("`") + key + "` is for tokens, and this entry is for API keys",
                 "remove it");
  };
  if (config.issuer.has_value()) inert(config.issuer->at, "issuer");
  if (!config.audiences.empty()) inert(config.audiences.front().at, "audience");
  if (config.jwks_file.has_value()) inert(config.jwks_file->at, "jwks_file");
  if (config.algorithms.has_value()) inert(config.algorithms->front().at, "algorithms");
  if (config.leeway.has_value()) inert(config.leeway->at, "leeway");
  if (config.lifetime_max.has_value()) inert(config.lifetime_max->at, "max_lifetime");
  if (config.type.has_value()) inert(config.type->at, "type");
  if (config.revocations.has_value()) inert(config.revocations->at, "revocations");
}

void check_twice(const ProviderConfig& config, Reader& reader) {
  std::set<std::string> audiences;
  for (const auto& audience : config.audiences) {
    if (!audiences.insert(*audience).second)
      reader.error(audience.at, "this audience is given twice");
  }
  std::set<Algorithm> algorithms;
  for (const auto& algorithm : config.algorithms.value_or(std::vector<Located<Algorithm>>{})) {
    if (!algorithms.insert(*algorithm).second) {
      reader.error(algorithm.at, "this algorithm is given twice");
    }
  }
}

void check_provider(const ProviderConfig& config, Reader& reader) {
  if (config.api_keys.has_value()) {
    refuse_token_keys(config, reader);
    return;
  }
  if (!config.issuer.has_value()) {
    reader.error(config.at, "it names nobody to believe", "name `issuer` or `api_keys`");
    return;
  }
  if (config.audiences.empty()) {
    reader.error(config.at, "an issuer needs an `audience`",
                 "its tokens for others would be accepted without");
  }
  if (!config.jwks_file.has_value()) {
    reader.error(config.at, "fetching the keys of an issuer is not built into this version yet",
                 "name a `jwks_file`");
  }
  check_twice(config, reader);
}

}  // namespace

const Object<ProviderConfig>& provider_schema() {
  static const auto schema =
      Object<ProviderConfig>(
          "identity",
          "Someone who says who callers are: an issuer of tokens (JWT, RFC 9068) "
          "or a file of API keys. Routes name it in `auth`.")
          .field("issuer", &ProviderConfig::issuer,
                 plain("an https URL", "https://id.example.com/", parse_issuer),
                 "Who signs the tokens; `iss` must equal it byte by byte.")
          .field("audience", &ProviderConfig::audiences,
                 config::one_or_list(config::located(config::text(1, 512)), 1, kAudiencesMax),
                 "Whom tokens must be for; `aud` must have one of these.")
          .field("jwks_file", &ProviderConfig::jwks_file, config::file(),
                 "The public keys of the issuer, a JWK Set (RFC 7517). Read again when it changes.")
          .field("algorithms", &ProviderConfig::algorithms,
                 config::list_of(config::located(config::words<Algorithm>(algorithm_words())), 1,
                                 kAlgorithmCount),
                 "How tokens may be signed; RS256 and ES256 without it.")
          .field(
              "leeway", &ProviderConfig::leeway, config::duration(milliseconds{0}, seconds{60}),
              "For clocks that differ, on `exp`, `nbf` and `iat`; 10s without it. Whole seconds.")
          .field("max_lifetime", &ProviderConfig::lifetime_max,
                 config::duration(seconds{10}, hours{24}),
                 "How long a token may live from `iat` to `exp`; 24h without it.")
          .field("type", &ProviderConfig::type,
                 config::words<TokenType>({{"at+jwt", TokenType::kAccessToken}}),
                 "Only tokens of this `typ`, with the claims that RFC 9068 requires. Without it "
                 "`at+jwt`, `JWT` and none are accepted.")
          .field("revocations", &ProviderConfig::revocations, config::file(),
                 "YAML: a list `revoked` of tokens that are refused before they expire, by `jti`, "
                 "`sub` or `issued_before`. Read again when it changes.")
          .field("api_keys", &ProviderConfig::api_keys, config::object(api_keys_schema()),
                 "API keys in place of tokens.")
          .later("jwks_uri", "fetching the keys of an issuer")
          .later("introspection", "introspection of opaque tokens")
          .mark(&ProviderConfig::at)
          .check(check_provider);
  return schema;
}

}  // namespace merlon::identity
