#include "identity/key_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "base/escape.h"
#include "identity/base64url.h"
#include "identity/digest.h"
#include "identity/openssl_ptr.h"

namespace merlon::identity {
namespace {

using Unusable = std::unexpected<std::string>;

// Longer ones cost more than a millisecond to verify with and appear nowhere.
constexpr int kRsaBitsMin = 2048;
constexpr int kRsaBitsMax = 8192;
constexpr unsigned long kRsaExponentMin = 65537;
constexpr std::size_t kKidBytesMax = 256;

struct Curve {
  std::string_view name;
  const char* group;
  KeyType type;
  std::size_t coordinate_bytes;
};
constexpr std::array<Curve, 3> kCurves = {{
    {"P-256", "prime256v1", KeyType::kP256, 32},
    {"P-384", "secp384r1", KeyType::kP384, 48},
    {"P-521", "secp521r1", KeyType::kP521, 66},
}};

AlgorithmSet all_of(KeyType type) {
  AlgorithmSet set;
  for (std::size_t i = 0; i < kAlgorithmCount; ++i) {
    const auto algorithm = static_cast<Algorithm>(i);
    if (key_type_of(algorithm) == type) set.add(algorithm);
  }
  return set;
}

std::optional<std::string> bytes_of(JsonValue jwk, std::string_view name) {
  const JsonValue value = jwk.find(name);
  if (!value.is(JsonKind::kString) || value.text().empty()) return std::nullopt;
  return base64url_decode(value.text());
}

const unsigned char* raw(std::string_view bytes) noexcept {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

BigNumberPtr number_of(std::string_view bytes) {
  return BigNumberPtr(BN_bin2bn(raw(bytes), static_cast<int>(bytes.size()), nullptr));
}

KeyPtr key_from(const char* type, OSSL_PARAM_BLD* builder) {
  const ParamsPtr params(OSSL_PARAM_BLD_to_param(builder));
  const KeyContextPtr context(EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr));
  EVP_PKEY* key = nullptr;
  const bool made = params != nullptr && context != nullptr &&
                    EVP_PKEY_fromdata_init(context.get()) == 1 &&
                    EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, params.get()) == 1;
  ERR_clear_error();
  return KeyPtr(made ? key : nullptr);
}

/// What a JWK says of itself, before it becomes a key.
struct Material {
  KeyPtr key;
  KeyType type = KeyType::kRsa;
};

std::expected<Material, std::string> read_rsa(JsonValue jwk) {
  const auto n = bytes_of(jwk, "n");
  const auto e = bytes_of(jwk, "e");
  if (!n.has_value() || !e.has_value()) return Unusable("`n` and `e` must be base64url");
  // RFC 7518 §6.3.1.1: no octets of zero in front. 8 bytes hold any exponent in use.
  if (n->front() == 0 || e->front() == 0) return Unusable("`n` or `e` begins with a zero octet");
  if (n->size() > kRsaBitsMax / 8 || e->size() > 8) return Unusable("`n` or `e` is too long");
  const BigNumberPtr modulus = number_of(*n);
  const BigNumberPtr exponent = number_of(*e);
  if (modulus == nullptr || exponent == nullptr) return Unusable("out of memory");
  if (BN_num_bits(modulus.get()) < kRsaBitsMin) return Unusable("RSA with less than 2048 bits");
  if (BN_is_odd(modulus.get()) == 0) return Unusable("the modulus is even");
  if (BN_is_odd(exponent.get()) == 0 || BN_get_word(exponent.get()) < kRsaExponentMin) {
    return Unusable("the exponent is even or below 65537");
  }
  const ParamBuilderPtr builder(OSSL_PARAM_BLD_new());
  if (builder == nullptr) return Unusable("out of memory");
  OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, modulus.get());
  OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, exponent.get());
  return Material{.key = key_from("RSA", builder.get()), .type = KeyType::kRsa};
}

std::expected<Material, std::string> read_ec(JsonValue jwk) {
  const std::string_view name = jwk.find("crv").text();
  const auto* curve = std::ranges::find(kCurves, name, &Curve::name);
  if (curve == kCurves.end()) return Unusable("a curve that is not used here");
  const auto x = bytes_of(jwk, "x");
  const auto y = bytes_of(jwk, "y");
  if (!x.has_value() || !y.has_value() || x->size() != curve->coordinate_bytes ||
      y->size() != curve->coordinate_bytes) {
    return Unusable("`x` and `y` must be base64url of the curve's length");
  }
  const std::string point = "\x04" + *x + *y;  // uncompressed, SEC 1 §2.3.3
  const ParamBuilderPtr builder(OSSL_PARAM_BLD_new());
  if (builder == nullptr) return Unusable("out of memory");
  OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, curve->group, 0);
  OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(),
                                   point.size());
  Material made{.key = key_from("EC", builder.get()), .type = curve->type};
  if (made.key == nullptr) return Unusable("the point is not on the curve");
  const KeyContextPtr check(EVP_PKEY_CTX_new_from_pkey(nullptr, made.key.get(), nullptr));
  const bool good = check != nullptr && EVP_PKEY_public_check(check.get()) == 1;
  ERR_clear_error();
  if (!good) return Unusable("the point is not on the curve");
  return made;
}

std::expected<Material, std::string> read_okp(JsonValue jwk) {
  if (jwk.find("crv").text() != "Ed25519") return Unusable("a curve that is not used here");
  const auto x = bytes_of(jwk, "x");
  if (!x.has_value() || x->size() != 32) return Unusable("`x` must be base64url of 32 bytes");
  return Material{
      .key = KeyPtr(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, raw(*x), x->size())),
      .type = KeyType::kEd25519};
}

std::expected<Material, std::string> read_material(JsonValue jwk) {
  const JsonValue type = jwk.find("kty");
  if (!type.is(JsonKind::kString)) return Unusable("`kty` is missing");
  // Who publishes a private key has lost it.
  if (jwk.find("d") || jwk.find("k")) return Unusable("it is a private or a symmetric key");
  if (type.text() == "RSA") return read_rsa(jwk);
  if (type.text() == "EC") return read_ec(jwk);
  if (type.text() == "OKP") return read_okp(jwk);
  return Unusable("a `kty` that is not used here");
}

/// What is wrong with the purpose that the key states, or "".
std::string purpose_problem(JsonValue jwk) {
  if (const JsonValue use = jwk.find("use"); use && use.text() != "sig") {
    return "its `use` is not `sig`";
  }
  const JsonValue operations = jwk.find("key_ops");
  if (!operations) return {};
  for (JsonValue one = operations.first(); one; one = one.next()) {
    if (one.text() == "verify") return {};
  }
  return "its `key_ops` has no `verify`";
}

std::expected<AlgorithmSet, std::string> read_algorithms(JsonValue jwk, KeyType type) {
  const JsonValue stated = jwk.find("alg");
  if (!stated) return all_of(type);
  const auto algorithm = algorithm_named(stated.text());
  if (!stated.is(JsonKind::kString) || !algorithm.has_value() || key_type_of(*algorithm) != type) {
    return Unusable("its `alg` does not belong to its type");
  }
  return AlgorithmSet{*algorithm};
}

std::uint64_t id_from(std::string_view text) {
  const Sha256 digest = sha256(text);
  std::uint64_t id = 0;
  std::memcpy(&id, digest.data(), sizeof id);
  return id;
}

}  // namespace

PublicKey::PublicKey(evp_pkey_st* key, KeyType type, AlgorithmSet algorithms, std::string kid,
                     std::string thumbprint)
    : key_(key),
      type_(type),
      algorithms_(algorithms),
      kid_(std::move(kid)),
      thumbprint_(std::move(thumbprint)) {
  std::string all = thumbprint_;
  for (std::size_t i = 0; i < kAlgorithmCount; ++i) {
    all += algorithms_.contains(static_cast<Algorithm>(i)) ? '1' : '0';
  }
  id_ = id_from(all + kid_);
  if (type == KeyType::kRsa) signature_bytes_ = static_cast<std::size_t>(EVP_PKEY_get_size(key));
  if (type == KeyType::kEd25519) signature_bytes_ = 64;
  for (const Curve& curve : kCurves) {
    if (curve.type == type) signature_bytes_ = 2 * curve.coordinate_bytes;
  }
}

PublicKey::~PublicKey() { EVP_PKEY_free(key_); }

JwkText describe_jwk(JsonValue jwk) {
  const auto text = [&](std::string_view name) { return jwk.find(name).text(); };
  std::size_t members = 0;
  for (JsonValue one = jwk.first(); one; one = one.next()) ++members;
  const std::string_view type = text("kty");
  if (type == "EC") {
    return {.canonical = fmt::format(R"({{"crv":"{}","kty":"EC","x":"{}","y":"{}"}})", text("crv"),
                                     text("x"), text("y")),
            .plain = members == 4};
  }
  if (type == "OKP") {
    return {
        .canonical = fmt::format(R"({{"crv":"{}","kty":"OKP","x":"{}"}})", text("crv"), text("x")),
        .plain = members == 3};
  }
  if (type != "RSA") return {};
  return {.canonical = fmt::format(R"({{"e":"{}","kty":"RSA","n":"{}"}})", text("e"), text("n")),
          .plain = members == 3};
}

std::expected<std::shared_ptr<const PublicKey>, std::string> read_jwk(JsonValue jwk) {
  if (!jwk.is(JsonKind::kObject)) return Unusable("it is no object");
  const JsonValue kid = jwk.find("kid");
  if (kid && (!kid.is(JsonKind::kString) || kid.text().size() > kKidBytesMax)) {
    return Unusable("its `kid` is no text of up to 256 bytes");
  }
  if (std::string wrong = purpose_problem(jwk); !wrong.empty()) return Unusable(std::move(wrong));
  auto material = read_material(jwk);
  if (!material.has_value()) return Unusable(std::move(material.error()));
  if (material->key == nullptr) return Unusable("OpenSSL refuses it");
  const auto algorithms = read_algorithms(jwk, material->type);
  if (!algorithms.has_value()) return Unusable(algorithms.error());
  const Sha256 digest = sha256(describe_jwk(jwk).canonical);
  return std::make_shared<const PublicKey>(material->key.release(), material->type, *algorithms,
                                           std::string(kid.text()),
                                           base64url_encode(as_text(digest)));
}

KeySet::KeySet(std::vector<std::shared_ptr<const PublicKey>> keys) : keys_(std::move(keys)) {}

Result<const PublicKey*> KeySet::choose(std::string_view kid, bool has_kid,
                                        Algorithm algorithm) const noexcept {
  const PublicKey* found = nullptr;
  for (const auto& key : keys_) {
    if (!key->algorithms().contains(algorithm)) continue;
    if (has_kid && key->kid() != kid) continue;
    if (found != nullptr) {
      return fail(code::kTokenKeyAmbiguous, Blame::kClient, "several keys fit the token");
    }
    found = key.get();
  }
  if (found == nullptr && has_kid && this->has_kid(kid)) {
    return fail(code::kTokenAlgorithm, Blame::kClient, "the key is not for this algorithm");
  }
  if (found == nullptr) {
    return fail(code::kTokenKeyUnknown, Blame::kClient, "no key of the issuer fits the token");
  }
  return found;
}

bool KeySet::has_kid(std::string_view kid) const noexcept {
  return std::ranges::any_of(keys_, [&](const auto& key) { return key->kid() == kid; });
}

bool KeySet::contains(std::uint64_t key_id) const noexcept {
  return std::ranges::any_of(keys_, [&](const auto& key) { return key->id() == key_id; });
}

bool KeySet::has_key_for(AlgorithmSet algorithms) const noexcept {
  return std::ranges::any_of(
      keys_, [&](const auto& key) { return !key->algorithms().common_with(algorithms).empty(); });
}

bool KeySet::same_keys(const KeySet& other) const noexcept {
  return keys_.size() == other.keys_.size() &&
         std::ranges::all_of(keys_, [&](const auto& key) { return other.contains(key->id()); });
}

namespace {

using Keys = std::vector<std::shared_ptr<const PublicKey>>;

bool is_listed(const Keys& keys, const PublicKey& key) {
  return std::ranges::any_of(keys, [&](const auto& one) { return one->id() == key.id(); });
}

bool is_ambiguous(const Keys& keys, const PublicKey& key) {
  return std::ranges::any_of(keys, [&](const auto& one) {
    if (one->kid() != key.kid() || one->type() != key.type()) return false;
    for (std::size_t i = 0; i < kAlgorithmCount; ++i) {
      const auto algorithm = static_cast<Algorithm>(i);
      if (one->algorithms().contains(algorithm) && key.algorithms().contains(algorithm))
        return true;
    }
    return false;
  });
}

}  // namespace

std::expected<ReadKeySet, std::string> read_jwks(std::string_view text) {
  JsonDocument document;
  const JsonLimits limits{
      .bytes_max = kKeySetBytesMax, .values_max = 8192, .members_max = 64, .depth_max = 8};
  const Result<JsonValue> root = document.read(text, limits);
  if (!root) {
    return Unusable(fmt::format("not JSON as it must be: {} (byte {})", root.error().what,
                                root.error().offset_bytes));
  }
  const JsonValue list = root->find("keys");
  if (!list.is(JsonKind::kArray)) return Unusable("it has no list `keys`");
  ReadKeySet result;
  std::vector<std::shared_ptr<const PublicKey>> keys;
  std::size_t number = 0;
  for (JsonValue one = list.first(); one; one = one.next()) {
    if (++number > kKeysMax) return Unusable("it has more than 64 keys");
    auto key = read_jwk(one);
    std::string problem;
    if (!key.has_value()) {
      problem = key.error();
    } else if (is_listed(keys, **key)) {
      continue;
    } else {
      if (is_ambiguous(keys, **key))
        problem = "another key has its `kid` and algorithm: tokens that name them are refused";
      keys.push_back(std::move(*key));
    }
    if (problem.empty()) continue;
    std::string kid;
    append_json_escaped(kid, one.find("kid").text(), 64);
    result.skipped.push_back(fmt::format("key {} ({}): {}", number, kid, problem));
  }
  if (keys.empty()) {
    return Unusable(result.skipped.empty() ? "it has no key"
                                           : "no key can be used; " + result.skipped.front());
  }
  result.keys = std::make_shared<const KeySet>(std::move(keys));
  return result;
}

}  // namespace merlon::identity
