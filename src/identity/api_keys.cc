#include "identity/api_keys.h"

#include <fmt/format.h>
#include <openssl/rand.h>

#include "base/ascii.h"
#include "config/schema.h"
#include "config/tree.h"
#include "identity/base64url.h"
#include "identity/date.h"
#include "identity/openssl_ptr.h"

namespace merlon::identity {
namespace {

using config::Located;
using config::Object;
using config::Reader;

constexpr std::string_view kPrefix = "mk_";
constexpr std::size_t kIdBytes = 12;
constexpr std::size_t kSecretBytes = 43;  // 32 bytes in base64url
constexpr std::size_t kKeysMax = 100'000;
constexpr std::string_view kHashPrefix = "sha256:";
constexpr std::string_view kIdAlphabet = "abcdefghijklmnopqrstuvwxyz012345";  // 32, so 5 bits each

struct KeyConfig {
  Located<std::string> id;
  std::string owner;
  Located<std::string> hash;
  std::vector<std::string> scopes;
  std::optional<TokenTime> expires;
  std::vector<Cidr> networks;
};
struct KeyFile {
  std::vector<KeyConfig> keys;
};

std::expected<std::string, std::string> parse_id(std::string_view text) {
  for (const char c : text) {
    if (!ascii::is_digit(c) && (c < 'a' || c > 'z'))
      return std::unexpected("only a to z and 0 to 9");
  }
  if (text.size() != kIdBytes) return std::unexpected("an id has 12 characters");
  return std::string(text);
}

std::optional<Sha256> parse_hash(std::string_view text) {
  Sha256 hash{};
  if (!text.starts_with(kHashPrefix) || text.size() != kHashPrefix.size() + 2 * hash.size()) {
    return std::nullopt;
  }
  text.remove_prefix(kHashPrefix.size());
  for (std::size_t i = 0; i < hash.size(); ++i) {
    const int high = ascii::hex_value(text[2 * i]);
    const int low = ascii::hex_value(text[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    hash[i] = static_cast<unsigned char>(high * 16 + low);
  }
  return hash;
}

std::string format_hash(const Sha256& hash) {
  std::string out(kHashPrefix);
  for (const unsigned char byte : hash) fmt::format_to(std::back_inserter(out), "{:02x}", byte);
  return out;
}

std::expected<std::string, std::string> parse_scope(std::string_view text) {
  for (const char c : text) {
    // RFC 6749 §3.3
    if (c <= 0x20 || c > 0x7e || c == '"' || c == '\\') {
      return std::unexpected("a scope is printable ASCII without space, quote and backslash");
    }
  }
  if (text.empty()) return std::unexpected("it is empty");
  return std::string(text);
}

const Object<KeyConfig>& key_schema() {
  const auto written = [](const std::string& text) { return text; };
  static const auto schema =
      Object<KeyConfig>("api key", "One key.")
          .required("id", &KeyConfig::id,
                    config::custom<std::string>({.name = "the id of a key",
                                                 .example = "k3m9x0q2w8ra",
                                                 .parse = parse_id,
                                                 .format = written}),
                    "Its public part.")
          .required("owner", &KeyConfig::owner, config::text(1, 128), "Its owner.")
          .required("hash", &KeyConfig::hash, config::text(1, 256),
                    "The SHA-256 of its secret part.")
          .field("scopes", &KeyConfig::scopes,
                 config::list_of(config::custom<std::string>({.name = "a scope",
                                                              .example = "orders.read",
                                                              .parse = parse_scope,
                                                              .format = written}),
                                 1, 64),
                 "Its scopes.")
          .field("expires", &KeyConfig::expires, date(), "When it expires.")
          .field("networks", &KeyConfig::networks, config::list_of(config::cidr(), 1, 64),
                 "Networks that it may be used from; without it any.");
  return schema;
}

const Object<KeyFile>& file_schema() {
  static const auto schema =
      Object<KeyFile>("api key file", "API keys, as `merlon key new` prints them.")
          .required("keys", &KeyFile::keys,
                    config::list_of(config::object(key_schema()), 0, kKeysMax), "The keys.");
  return schema;
}

std::string joined(const std::vector<std::string>& scopes) {
  std::string all;
  for (const std::string& scope : scopes) all += (all.empty() ? "" : " ") + scope;
  return all;
}

}  // namespace

std::optional<NewApiKey> make_api_key() {
  std::array<unsigned char, 32> secret{};
  std::array<unsigned char, kIdBytes> random{};
  if (RAND_priv_bytes(secret.data(), secret.size()) != 1 ||
      RAND_bytes(random.data(), random.size()) != 1) {
    return std::nullopt;
  }
  NewApiKey made;
  for (const unsigned char byte : random) made.id += kIdAlphabet[byte % kIdAlphabet.size()];
  std::string text = base64url_encode(as_text(secret));
  made.hash = format_hash(sha256(text));
  made.key = Secret(fmt::format("{}{}_{}", kPrefix, made.id, text));
  wipe_memory(secret.data(), secret.size());
  wipe_memory(text.data(), text.size());
  return made;
}

std::shared_ptr<const ApiKeys> ApiKeys::read(std::string path, std::string text, Diagnostics& out) {
  auto source = std::make_shared<Source>();
  source->path = std::move(path);
  source->text = std::move(text);
  const auto tree = config::Tree::parse(source, {}, out);
  // From here on places are shown without their lines: who pastes a key where its hash belongs must
  // not find it in a log.
  source->text.clear();
  if (tree == nullptr) return nullptr;
  Reader reader(out);
  const auto file = config::read(file_schema(), tree->root(), reader);
  if (!file.has_value()) return nullptr;
  auto keys = std::make_shared<ApiKeys>();
  for (const KeyConfig& from : file->keys) {
    const auto hash = parse_hash(*from.hash);
    if (!hash.has_value()) {
      out.error(from.hash.at, "a hash is `sha256:` and 64 hexadecimal digits",
                "`merlon key new` prints it");
      continue;
    }
    const std::string scopes = joined(from.scopes);
    Key key{.hash = *hash,
            .networks = from.networks,
            .identity = Identity::make({.method = Method::kApiKey,
                                        .subject = from.owner,
                                        .client_id = *from.id,
                                        .scopes = scopes,
                                        .expires = from.expires})};
    const bool is_new = keys->keys_.try_emplace(*from.id, std::move(key)).second;
    if (!is_new) out.error(from.id.at, "this id is given twice");
  }
  return out.ok() ? keys : nullptr;
}

Result<std::shared_ptr<const Identity>> ApiKeys::authenticate(std::string_view key,
                                                              const IpAddress& client,
                                                              TokenTime now, Hasher& hasher) const {
  static const Key kNobody{};
  const auto unknown = [] {
    return fail(code::kApiKeyUnknown, Blame::kClient, "the API key is unknown");
  };
  const bool shaped = key.size() == kPrefix.size() + kIdBytes + 1 + kSecretBytes &&
                      key.starts_with(kPrefix) && key[kPrefix.size() + kIdBytes] == '_';
  if (!shaped) return unknown();
  const auto found = keys_.find(key.substr(kPrefix.size(), kIdBytes));
  const Key& held = found == keys_.end() ? kNobody : found->second;
  bool hashed = false;
  const Sha256 hash = hasher.sha256(key.substr(kPrefix.size() + kIdBytes + 1), hashed);
  // The same work whether the id is known or not, and none that depends on the secret.
  const bool equal = CRYPTO_memcmp(hash.data(), held.hash.data(), hash.size()) == 0;
  if (!hashed || !equal || held.identity == nullptr) return unknown();
  if (const auto expires = held.identity->expires(); expires && now >= *expires) {
    return fail(code::kApiKeyExpired, Blame::kClient, "the key has expired");
  }
  if (!held.networks.empty() && !contains_any(held.networks, client)) {
    return fail(code::kApiKeyNetwork, Blame::kClient, "the key may not be used from this address");
  }
  return held.identity;
}

}  // namespace merlon::identity
