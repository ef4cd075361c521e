#include "identity/provider_config.h"

#include <set>

#include "base/ascii.h"
#include "config/shown.h"
#include "config/waivers.h"
#include "http/field_id.h"
#include "identity/dpop.h"

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

/// Dates in tokens are whole seconds: what is written is what counts.
Type<milliseconds> whole_seconds(seconds min, seconds max) {
  return config::where<milliseconds>(config::duration(min, max), [](const milliseconds& value) {
    return value.count() % 1000 == 0 ? "" : "it is counted in whole seconds";
  });
}

/// `type`, of which what `rule` recognises is refused by the name of that rule: never waived.
template <class T>
Type<T> refusing(const Type<T>& type, std::string_view (*rule)(std::string_view written),
                 const char* why) {
  Type<T> out = type;
  out.read = [type, rule, why](const config::Node& node, T& into, Reader& reader) {
    const std::string_view slug = node.is_scalar() ? rule(node.text()) : std::string_view();
    if (slug.empty()) return type.read(node, into, reader);
    config::refuse_always(reader.diagnostics(), slug, node.at(), config::shown(node.text()) + why);
    return false;
  };
  return out;
}

/// Whoever stands between the gateway and this address could say who callers are.
template <class T>
Type<T> never_in_clear(const Type<T>& type) {
  return refusing(
      type,
      [](std::string_view written) -> std::string_view {
        constexpr std::string_view kClear = "http://";
        const bool clear = written.size() >= kClear.size() &&
                           ascii::iequals(written.substr(0, kClear.size()), kClear);
        return clear ? "jwks-over-http" : "";
      },
      " is not https: anyone in between could decide who callers are");
}

/// Algorithms that no public key verifies have no words here; who writes one learns why.
Type<Algorithm> never_without_key(const Type<Algorithm>& type) {
  return refusing(
      type,
      [](std::string_view written) -> std::string_view {
        if (ascii::iequals(written, "none")) return "jwt-allow-missing";
        const bool hmac = written.size() > 2 && ascii::iequals(written.substr(0, 2), "HS");
        return hmac ? "jwt-weak-alg" : "";
      },
      " is not a signature with a key that only the issuer has");
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
                    "YAML file: a list `keys` of entries as `merlon key new` prints them.")
          .field("header", &ApiKeysConfig::header,
                 plain("the name of a field", "X-Api-Key", parse_header),
                 "The request field in which clients send the key.")
          .mark(&ApiKeysConfig::at);
  return schema;
}

Type<upstream::HttpsUrl> url(std::string example) {
  return never_in_clear(config::custom<upstream::HttpsUrl>(
      {.name = "an https URL",
       .example = std::move(example),
       .parse = [](std::string_view text) { return upstream::parse_https_url(text); },
       .format =
           [](const upstream::HttpsUrl& v) {
             const std::string query = v.has_query ? "?" + v.query : "";
             return config::detail::yaml_scalar("https://" + v.authority() + v.path + query);
           }}));
}

Type<Resource> resource() {
  return never_in_clear(config::custom<Resource>(
      {.name = "an https URL",
       .example = "https://api.example.com/",
       .parse = [](std::string_view text) -> std::expected<Resource, std::string> {
         auto read = upstream::parse_https_url(text);
         if (!read.has_value()) return std::unexpected(std::move(read.error()));
         return Resource{.written = std::string(text), .url = std::move(*read)};
       },
       .format = [](const Resource& v) { return config::detail::yaml_scalar(v.written); }}));
}

/// A host as URLs have it, without port.
std::expected<std::string, std::string> parse_host(std::string_view text) {
  const auto read = upstream::parse_https_url("https://" + std::string(text) + "/");
  const bool host_only = read.has_value() && read->port == 443 && read->path == "/" &&
                         text.find_first_of("/?:") == std::string_view::npos;
  if (!host_only) return std::unexpected("a host is a name such as keys.example.com");
  return read->host;
}

const Object<IdentityTls>& tls_schema() {
  static const auto schema = Object<IdentityTls>("identity tls",
                                                 "How the servers that the gateway itself calls "
                                                 "are verified. Verification cannot be disabled.")
                                 .field("ca", &IdentityTls::ca, config::file(),
                                        "PEM file: the trusted certificate authorities.")
                                 .absent("the system's")
                                 .mark(&IdentityTls::at);
  return schema;
}

const Object<IntrospectionConfig>& introspection_schema() {
  static const auto schema =
      Object<IntrospectionConfig>("introspection",
                                  "An authorisation server that is asked about each token (RFC "
                                  "7662). While it is unavailable, its routes answer 503.")
          .required("url", &IntrospectionConfig::url, url("https://id.example.com/introspect"),
                    "Its introspection endpoint.")
          .required("client_id", &IntrospectionConfig::client_id, config::text(1, 256),
                    "The gateway's client ID at this server.")
          .required("client_secret_file", &IntrospectionConfig::secret_file, config::secret_file(),
                    "File with the client secret, on one line.")
          .field("cache", &IntrospectionConfig::cache, whole_seconds(seconds{1}, seconds{300}),
                 "How long an answer is reused. A revoked token is refused after this time at the "
                 "latest. Whole seconds.")
          .mark(&IntrospectionConfig::at);
  return schema;
}

const Object<DpopConfig>& dpop_schema() {
  static const auto schema =
      Object<DpopConfig>(
          "dpop",
          "Tokens that are bound to a key (RFC 9449) always need a proof of that key and are never "
          "accepted as bearer tokens, even without this block. The block adds stricter rules.")
          .field("required", &DpopConfig::required, config::boolean(),
                 "Whether tokens that are not bound by DPoP are refused.")
          .field("nonce", &DpopConfig::nonce, config::boolean(),
                 "Whether proofs must contain a nonce that the gateway issued in the last minutes.")
          .mark(&DpopConfig::at)
          .check([](const DpopConfig& dpop, Reader& reader) {
            if (!dpop.required && !dpop.nonce) reader.error(dpop.at, "this block asks for nothing");
          });
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

/// Reports what is there though `kind` has no use for it.
class Inert {
 public:
  Inert(Reader& reader, const char* kind) : reader_(reader), kind_(kind) {}
  template <class T>
  void refuse(const std::optional<T>& value, const char* key) const {
    if (value.has_value()) refuse_at(value->at, key);
  }
  template <class T>
  void refuse(const std::vector<T>& values, const char* key) const {
    if (!values.empty()) refuse_at(values.front().at, key);
  }

 private:
  void refuse_at(const Mark& at, const char* key) const {
    reader_.error(at, std::string("`") + key + "` means nothing for " + kind_, "remove it");
  }
  Reader& reader_;
  const char* kind_;
};

void refuse_key_sources(const ProviderConfig& config, const Inert& inert) {
  inert.refuse(config.jwks_file, "jwks_file");
  inert.refuse(config.jwks_uri, "jwks_uri");
  inert.refuse(config.hosts, "hosts");
  inert.refuse(config.stale_for, "stale_for");
  if (config.algorithms.has_value()) inert.refuse(*config.algorithms, "algorithms");
  inert.refuse(config.lifetime_max, "max_lifetime");
  inert.refuse(config.type, "type");
}

void check_api_keys(const ProviderConfig& config, Reader& reader) {
  const Inert inert(reader, "API keys");
  refuse_key_sources(config, inert);
  inert.refuse(config.issuer, "issuer");
  inert.refuse(config.audiences, "audience");
  inert.refuse(config.leeway, "leeway");
  inert.refuse(config.revocations, "revocations");
  inert.refuse(config.tls, "tls");
  inert.refuse(config.introspection, "introspection");
  inert.refuse(config.dpop, "dpop");
  inert.refuse(config.resource, "resource");
}

/// Of an issuer: where its keys come from.
void check_key_source(const ProviderConfig& config, Reader& reader) {
  if (config.jwks_file.has_value()) {
    const Inert inert(reader, "a `jwks_file`");
    inert.refuse(config.jwks_uri, "jwks_uri");
    inert.refuse(config.hosts, "hosts");
    inert.refuse(config.stale_for, "stale_for");
    inert.refuse(config.tls, "tls");
    return;
  }
  if (config.jwks_uri.has_value()) {
    Inert(reader, "a `jwks_uri`, which is not looked up in metadata").refuse(config.hosts, "hosts");
    return;
  }
  if (!upstream::parse_https_url(**config.issuer).has_value()) {
    reader.error(config.issuer->at, "metadata cannot be fetched from this URL",
                 "name a `jwks_uri` or a `jwks_file`");
  }
}

/// A resource is one path of a host.
void check_resource(const ProviderConfig& config, Reader& reader) {
  if (!config.resource.has_value()) return;
  const upstream::HttpsUrl& url = (*config.resource)->url;
  if (url.has_query || url.path.find_first_of("*{}%;") != std::string::npos ||
      url.path.contains("//")) {
    reader.error(config.resource->at,
                 "the URL of a resource has no query and no special characters");
  }
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
  if (config.api_keys.has_value()) return check_api_keys(config, reader);
  check_resource(config, reader);
  if (config.introspection.has_value()) {
    refuse_key_sources(config, Inert(reader, "tokens that are introspected"));
    check_twice(config, reader);
    return;
  }
  if (!config.issuer.has_value() && (config.jwks_file.has_value() || config.jwks_uri.has_value())) {
    config::refuse_always(
        reader.diagnostics(), "jwt-no-audience-issuer", config.at,
        "keys need an `issuer`: without one anything that they sign would be accepted");
    return;
  }
  if (!config.issuer.has_value()) {
    reader.error(config.at, "it names no source of identities",
                 "name `issuer`, `introspection` or `api_keys`");
    return;
  }
  if (config.audiences.empty()) {
    config::refuse_always(reader.diagnostics(), "jwt-no-audience-issuer", config.at,
                          "an issuer needs an `audience`: without one its tokens for other "
                          "audiences would be accepted");
  }
  check_key_source(config, reader);
  check_twice(config, reader);
}

bool takes_tokens(const ProviderConfig& config) { return !config.api_keys.has_value(); }
bool verifies_tokens(const ProviderConfig& config) {
  return takes_tokens(config) && !config.introspection.has_value();
}
bool fetches_keys(const ProviderConfig& config) { return config.fetches_keys(); }

/// Whose tokens they are, and where the keys are that verify them.
void add_issuer(Object<ProviderConfig>& schema) {
  schema
      .field("issuer", &ProviderConfig::issuer,
             never_in_clear(plain("an https URL", "https://id.example.com/", parse_issuer)),
             "The issuer of the tokens; `iss` must equal it byte for byte.")
      .field("audience", &ProviderConfig::audiences,
             config::one_or_list(config::located(config::text(1, 512)), 1, kAudiencesMax),
             "The audience of the tokens; `aud` must contain one of these.")
      .field("jwks_file", &ProviderConfig::jwks_file, config::file(),
             "The issuer's public keys, a JWK Set (RFC 7517). Read again when it changes.")
      .field("jwks_uri", &ProviderConfig::jwks_uri, url("https://id.example.com/jwks"),
             "URL of the issuer's public keys. They are fetched before they expire, and when a "
             "token names an unknown key.")
      .field(
          "hosts", &ProviderConfig::hosts,
          config::list_of(config::located(plain("a host", "keys.example.com", parse_host)), 1, 16),
          "Further hosts that the issuer's metadata may name, whatever their address. Any other "
          "host, except the issuer's own, must have a public Internet address.")
      .field("tls", &ProviderConfig::tls, config::object(tls_schema()),
             "TLS of connections to the provider.")
      .field("stale_for", &ProviderConfig::stale_for, whole_seconds(seconds{0}, hours{24 * 7}),
             "How long keys stay in use when they cannot be renewed; 503 after it. Whole seconds.")
      .absent("1h", fetches_keys);
}

/// What a token of it must be like.
void add_token_rules(Object<ProviderConfig>& schema) {
  schema
      .field("algorithms", &ProviderConfig::algorithms,
             config::list_of(
                 config::located(never_without_key(config::words<Algorithm>(algorithm_words()))), 1,
                 kAlgorithmCount),
             "The signature algorithms that are accepted.")
      .absent("[RS256, ES256]", verifies_tokens)
      .field("leeway", &ProviderConfig::leeway, whole_seconds(seconds{0}, seconds{kLeewayMax_s}),
             "Tolerated clock difference for `exp`, `nbf` and `iat`. Whole seconds.")
      .absent("10s", takes_tokens)
      .field("max_lifetime", &ProviderConfig::lifetime_max, whole_seconds(seconds{10}, hours{24}),
             "Maximum lifetime of a token, from `iat` to `exp`. Whole seconds.")
      .absent("1d", verifies_tokens)
      .field("type", &ProviderConfig::type,
             config::words<TokenType>({{"at+jwt", TokenType::kAccessToken}}),
             "Accept only tokens of this `typ`, with the claims that RFC 9068 requires. Without "
             "this key a `typ` of `at+jwt` or `JWT` is accepted, and a token without `typ`.")
      .field("revocations", &ProviderConfig::revocations, config::file(),
             "YAML file: a list `revoked` of tokens to refuse before they expire, by `jti`, `sub` "
             "or `issued_before`. Read again when it changes.");
}

Object<ProviderConfig> make_provider_schema() {
  Object<ProviderConfig> schema(
      "identity",
      "An authentication provider: an issuer of tokens (JWT, RFC 9068), an authorisation server "
      "that introspects tokens, or a file of API keys. Routes name it in `auth`. Without "
      "`jwks_file` and `jwks_uri`, an issuer's keys are found through its metadata (OpenID Connect "
      "Discovery, RFC 8414).");
  add_issuer(schema);
  add_token_rules(schema);
  schema
      .field("api_keys", &ProviderConfig::api_keys, config::object(api_keys_schema()),
             "API keys instead of tokens.")
      .field("introspection", &ProviderConfig::introspection,
             config::object(introspection_schema()),
             "Opaque tokens: an authorisation server is asked about each.")
      .field("dpop", &ProviderConfig::dpop, config::object(dpop_schema()),
             "Stricter rules for tokens that are bound to a client's key.")
      .field(
          "resource", &ProviderConfig::resource, resource(),
          "URL of the protected resource, as clients write it. Its metadata (RFC 9728) is served "
          "at `/.well-known/oauth-protected-resource` of this host, and challenges point there.")
      .mark(&ProviderConfig::at)
      .check(check_provider);
  return schema;
}

}  // namespace

const Object<ProviderConfig>& provider_schema() {
  static const Object<ProviderConfig> schema = make_provider_schema();
  return schema;
}

}  // namespace merlon::identity
