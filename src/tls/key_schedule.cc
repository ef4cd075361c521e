// The digests are used as functions on a plain state, which OpenSSL 3 calls deprecated: its way
// through EVP costs more than the hashing of these short inputs.
#define OPENSSL_SUPPRESS_DEPRECATED

#include "tls/key_schedule.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <new>
#include <optional>
#include <span>
#include <string_view>

namespace merlon::tls {

namespace {

using Bytes = std::span<const unsigned char>;

constexpr std::size_t kDigestMax = SHA384_DIGEST_LENGTH;
constexpr std::size_t kBlockMax = SHA512_CBLOCK;

/// SHA-256 or SHA-384 (FIPS 180-4), the digests of all suites that this gateway speaks.
class Sha2 {
 public:
  enum class Kind : std::uint8_t { kSha256, kSha384 };

  explicit Sha2(Kind kind) noexcept : kind_(kind) {
    if (kind == Kind::kSha256)
      SHA256_Init(&state_.sha256);
    else
      SHA384_Init(&state_.sha512);
  }
  void update(Bytes data) noexcept {
    if (kind_ == Kind::kSha256)
      SHA256_Update(&state_.sha256, data.data(), data.size());
    else
      SHA384_Update(&state_.sha512, data.data(), data.size());
  }
  /// `into` has room for `digest_bytes()`.
  void finish(unsigned char* into) noexcept {
    if (kind_ == Kind::kSha256)
      SHA256_Final(into, &state_.sha256);
    else
      SHA384_Final(into, &state_.sha512);
  }

  [[nodiscard]] std::size_t digest_bytes() const noexcept {
    return kind_ == Kind::kSha256 ? SHA256_DIGEST_LENGTH : SHA384_DIGEST_LENGTH;
  }
  [[nodiscard]] std::size_t block_bytes() const noexcept {
    return kind_ == Kind::kSha256 ? SHA256_CBLOCK : SHA512_CBLOCK;
  }

 private:
  union {
    SHA256_CTX sha256;
    SHA512_CTX sha512;
  } state_;
  Kind kind_;
};

/// HMAC (RFC 2104). What it knows of the key is wiped with it.
class Hmac {
 public:
  Hmac(Sha2::Kind kind, Bytes key) noexcept : inner_(kind), outer_(kind) {
    std::array<unsigned char, kBlockMax> pad{};
    if (key.size() <= inner_.block_bytes()) {
      std::ranges::copy(key, pad.begin());
    } else {
      Sha2 shortened(kind);
      shortened.update(key);
      shortened.finish(pad.data());
    }
    const std::span block = std::span(pad).first(inner_.block_bytes());
    for (unsigned char& byte : block) byte ^= 0x36;
    inner_.update(block);
    for (unsigned char& byte : block) byte ^= 0x36 ^ 0x5c;
    outer_.update(block);
    OPENSSL_cleanse(pad.data(), pad.size());
  }
  Hmac(const Hmac&) = default;
  Hmac& operator=(const Hmac&) = default;
  ~Hmac() { OPENSSL_cleanse(this, sizeof *this); }

  void update(Bytes data) noexcept { inner_.update(data); }
  /// `into` has room for `bytes()`. Nothing but destruction may follow.
  void finish(unsigned char* into) noexcept {
    inner_.finish(into);
    outer_.update({into, bytes()});
    outer_.finish(into);
  }
  [[nodiscard]] std::size_t bytes() const noexcept { return inner_.digest_bytes(); }

 private:
  Sha2 inner_;
  Sha2 outer_;
};

/// HKDF-Expand (RFC 5869 §2.3). False when `out` is longer than it can give. TLS asks for one block
/// nearly always.
bool expand(Sha2::Kind kind, Bytes key, std::span<const Bytes> info,
            std::span<unsigned char> out) noexcept {
  std::array<unsigned char, kDigestMax> block{};
  const std::size_t bytes = Sha2(kind).digest_bytes();
  if (out.size() > 255 * bytes) return false;
  for (unsigned char count = 1; !out.empty(); ++count) {
    Hmac mac(kind, key);
    if (count > 1) mac.update({block.data(), bytes});
    for (const Bytes part : info) mac.update(part);
    mac.update({&count, 1});
    mac.finish(block.data());
    const std::size_t n = std::min(out.size(), bytes);
    std::copy_n(block.begin(), n, out.begin());
    out = out.subspan(n);
  }
  OPENSSL_cleanse(block.data(), block.size());
  return true;
}

/// HKDF-Expand-Label (RFC 8446 §7.1). `prefix` is "tls13 ".
bool expand_label(Sha2::Kind kind, Bytes key, Bytes prefix, Bytes label, Bytes context,
                  std::span<unsigned char> out) noexcept {
  constexpr std::size_t kLabelMax = 255;
  if (prefix.size() + label.size() > kLabelMax || context.size() > kLabelMax) return false;
  if (out.size() > std::numeric_limits<std::uint16_t>::max()) return false;
  const std::array<unsigned char, 3> head{static_cast<unsigned char>(out.size() >> 8),
                                          static_cast<unsigned char>(out.size()),
                                          static_cast<unsigned char>(prefix.size() + label.size())};
  const auto context_bytes = static_cast<unsigned char>(context.size());
  const std::array<Bytes, 5> info{head, prefix, label, Bytes{&context_bytes, 1}, context};
  return expand(kind, key, info, out);
}

/// The step from one secret of the key schedule to the next (RFC 8446 §7.1): HKDF-Extract with
/// Derive-Secret(previous, "derived", "") as salt. No `previous`: the first; no `input`: zeros.
bool next_secret(Sha2::Kind kind, Bytes previous, Bytes input, Bytes prefix, Bytes label,
                 std::span<unsigned char> out) noexcept {
  std::array<unsigned char, kDigestMax> salt{};
  static constexpr std::array<unsigned char, kDigestMax> kZeros{};
  Sha2 nothing(kind);
  const std::size_t bytes = nothing.digest_bytes();
  if (out.size() != bytes) return false;
  Bytes salted{};
  if (!previous.empty()) {
    std::array<unsigned char, kDigestMax> empty{};
    nothing.finish(empty.data());
    const std::span into = std::span(salt).first(bytes);
    if (!expand_label(kind, previous, prefix, label, {empty.data(), bytes}, into)) return false;
    salted = into;
  }
  Hmac mac(kind, salted);
  mac.update(input.empty() ? Bytes(kZeros).first(bytes) : input);
  mac.finish(out.data());
  OPENSSL_cleanse(salt.data(), salt.size());
  return true;
}

bool read_digest(const OSSL_PARAM& from, Sha2::Kind& kind) noexcept {
  struct Name {
    const char* name;
    Sha2::Kind kind;
  };
  // The first two are what OpenSSL calls its own methods.
  static constexpr Name kNames[] = {
      {"SHA2-256", Sha2::Kind::kSha256}, {"SHA2-384", Sha2::Kind::kSha384},
      {"SHA256", Sha2::Kind::kSha256},   {"SHA384", Sha2::Kind::kSha384},
      {"SHA-256", Sha2::Kind::kSha256},  {"SHA-384", Sha2::Kind::kSha384}};
  if (from.data_type != OSSL_PARAM_UTF8_STRING || from.data == nullptr) return false;
  for (const Name& each : kNames) {
    if (OPENSSL_strcasecmp(static_cast<const char*>(from.data), each.name) != 0) continue;
    kind = each.kind;
    return true;
  }
  return false;
}

bool read_bytes(const OSSL_PARAM& from, Bytes& into) noexcept {
  if (from.data_type != OSSL_PARAM_OCTET_STRING) return false;
  into = {static_cast<const unsigned char*>(from.data), from.data_size};
  return true;
}

// --- TLS13-KDF, EVP_KDF-TLS13_KDF(7). Parameters come with the call that derives, as libssl gives
// them; there is no state between calls, so a context is nothing.

void* kdf_new(void*) noexcept {
  static char nothing;
  return &nothing;
}
void kdf_free(void*) noexcept {}

struct KdfInput {
  int mode = -1;
  Sha2::Kind kind = Sha2::Kind::kSha256;
  bool has_digest = false;
  Bytes key, salt, prefix, label, data;

  bool read(const OSSL_PARAM* params) noexcept {
    for (; params != nullptr && params->key != nullptr; ++params)
      if (!read_one(*params)) return false;
    return has_digest;
  }

 private:
  bool read_one(const OSSL_PARAM& from) noexcept {
    const std::string_view name = from.key;
    if (name == OSSL_KDF_PARAM_MODE) return OSSL_PARAM_get_int(&from, &mode) == 1;
    if (name == OSSL_KDF_PARAM_DIGEST) return has_digest = read_digest(from, kind);
    if (name == OSSL_KDF_PARAM_KEY) return read_bytes(from, key);
    if (name == OSSL_KDF_PARAM_SALT) return read_bytes(from, salt);
    if (name == OSSL_KDF_PARAM_PREFIX) return read_bytes(from, prefix);
    if (name == OSSL_KDF_PARAM_LABEL) return read_bytes(from, label);
    if (name == OSSL_KDF_PARAM_DATA) return read_bytes(from, data);
    return false;
  }
};

int kdf_derive(void*, unsigned char* out, std::size_t out_bytes,
               const OSSL_PARAM* params) noexcept {
  KdfInput in;
  if (!in.read(params)) return 0;
  const std::span into(out, out_bytes);
  switch (in.mode) {
    case EVP_KDF_HKDF_MODE_EXTRACT_ONLY:
      return next_secret(in.kind, in.salt, in.key, in.prefix, in.label, into) ? 1 : 0;
    case EVP_KDF_HKDF_MODE_EXPAND_ONLY:
      return expand_label(in.kind, in.key, in.prefix, in.label, in.data, into) ? 1 : 0;
    default:
      return 0;
  }
}

// --- HMAC, EVP_MAC-HMAC(7), for Finished messages, PSK binders and tickets.

struct MacContext {
  Sha2::Kind kind = Sha2::Kind::kSha256;
  std::optional<Hmac> start;  // the key alone, for a MAC that begins again
  std::optional<Hmac> running;
};

void* mac_new(void*) noexcept { return new (std::nothrow) MacContext; }
void mac_free(void* context) noexcept { delete static_cast<MacContext*>(context); }
void* mac_copy(void* context) noexcept {
  return new (std::nothrow) MacContext(*static_cast<const MacContext*>(context));
}

int mac_set(void* context, const OSSL_PARAM* params) noexcept {
  auto& mac = *static_cast<MacContext*>(context);
  const OSSL_PARAM* key = nullptr;
  for (; params != nullptr && params->key != nullptr; ++params) {
    const std::string_view name = params->key;
    if (name == OSSL_MAC_PARAM_DIGEST && !read_digest(*params, mac.kind)) return 0;
    if (name == OSSL_MAC_PARAM_KEY) key = params;
  }
  if (key == nullptr) return 1;
  Bytes bytes;
  if (!read_bytes(*key, bytes)) return 0;
  mac.running = mac.start.emplace(mac.kind, bytes);  // a key may come without a call that begins
  return 1;
}

int mac_init(void* context, const unsigned char* key, std::size_t key_bytes,
             const OSSL_PARAM* params) noexcept {
  auto& mac = *static_cast<MacContext*>(context);
  if (mac_set(context, params) != 1) return 0;
  if (key != nullptr) mac.start.emplace(mac.kind, Bytes{key, key_bytes});
  mac.running = mac.start;
  return mac.running ? 1 : 0;
}

int mac_update(void* context, const unsigned char* data, std::size_t bytes) noexcept {
  auto& mac = *static_cast<MacContext*>(context);
  if (!mac.running) return 0;
  mac.running->update({data, bytes});
  return 1;
}

int mac_finish(void* context, unsigned char* out, std::size_t* bytes, std::size_t room) noexcept {
  auto& mac = *static_cast<MacContext*>(context);
  if (!mac.running || room < mac.running->bytes()) return 0;
  *bytes = mac.running->bytes();
  mac.running->finish(out);
  mac.running.reset();
  return 1;
}

int mac_get(void* context, OSSL_PARAM* params) noexcept {
  const Sha2 digest(static_cast<const MacContext*>(context)->kind);
  if (OSSL_PARAM* size = OSSL_PARAM_locate(params, OSSL_MAC_PARAM_SIZE);
      size != nullptr && OSSL_PARAM_set_size_t(size, digest.digest_bytes()) != 1)
    return 0;
  if (OSSL_PARAM* block = OSSL_PARAM_locate(params, OSSL_MAC_PARAM_BLOCK_SIZE);
      block != nullptr && OSSL_PARAM_set_size_t(block, digest.block_bytes()) != 1)
    return 0;
  return 1;
}

const OSSL_PARAM* mac_gettable(void*, void*) noexcept {
  static const OSSL_PARAM all[] = {OSSL_PARAM_size_t(OSSL_MAC_PARAM_SIZE, nullptr),
                                   OSSL_PARAM_size_t(OSSL_MAC_PARAM_BLOCK_SIZE, nullptr),
                                   OSSL_PARAM_END};
  return all;
}

const OSSL_PARAM* mac_settable(void*, void*) noexcept {
  static const OSSL_PARAM all[] = {OSSL_PARAM_utf8_string(OSSL_MAC_PARAM_DIGEST, nullptr, 0),
                                   OSSL_PARAM_octet_string(OSSL_MAC_PARAM_KEY, nullptr, 0),
                                   OSSL_PARAM_END};
  return all;
}

// --- The provider, provider-base(7).

template <typename Function>
OSSL_DISPATCH entry(int id, Function* function) noexcept {
  return {id, reinterpret_cast<void (*)()>(function)};
}

const OSSL_ALGORITHM* algorithms(void*, int operation, int* may_not_cache) noexcept {
  static constexpr const char* kProperties = "provider=merlon";
  static const OSSL_DISPATCH kdf[] = {entry(OSSL_FUNC_KDF_NEWCTX, &kdf_new),
                                      entry(OSSL_FUNC_KDF_FREECTX, &kdf_free),
                                      entry(OSSL_FUNC_KDF_DERIVE, &kdf_derive),
                                      {0, nullptr}};
  static const OSSL_DISPATCH mac[] = {entry(OSSL_FUNC_MAC_NEWCTX, &mac_new),
                                      entry(OSSL_FUNC_MAC_DUPCTX, &mac_copy),
                                      entry(OSSL_FUNC_MAC_FREECTX, &mac_free),
                                      entry(OSSL_FUNC_MAC_INIT, &mac_init),
                                      entry(OSSL_FUNC_MAC_UPDATE, &mac_update),
                                      entry(OSSL_FUNC_MAC_FINAL, &mac_finish),
                                      entry(OSSL_FUNC_MAC_GET_CTX_PARAMS, &mac_get),
                                      entry(OSSL_FUNC_MAC_SET_CTX_PARAMS, &mac_set),
                                      entry(OSSL_FUNC_MAC_GETTABLE_CTX_PARAMS, &mac_gettable),
                                      entry(OSSL_FUNC_MAC_SETTABLE_CTX_PARAMS, &mac_settable),
                                      {0, nullptr}};
  static const OSSL_ALGORITHM kdfs[] = {{"TLS13-KDF", kProperties, kdf, nullptr}, {}};
  static const OSSL_ALGORITHM macs[] = {{"HMAC", kProperties, mac, nullptr}, {}};
  *may_not_cache = 0;
  if (operation == OSSL_OP_KDF) return kdfs;
  if (operation == OSSL_OP_MAC) return macs;
  return nullptr;
}

int start_provider(const OSSL_CORE_HANDLE* handle, const OSSL_DISPATCH*, const OSSL_DISPATCH** out,
                   void** context) noexcept {
  static const OSSL_DISPATCH functions[] = {entry(OSSL_FUNC_PROVIDER_QUERY_OPERATION, &algorithms),
                                            {0, nullptr}};
  *out = functions;
  *context = const_cast<OSSL_CORE_HANDLE*>(handle);
  return 1;
}

}  // namespace

const char* key_schedule_query() noexcept {
  // What asks for an HMAC without this query is to get OpenSSL's, which knows every digest: the
  // default provider comes first, for asking after it loads it.
  static const OSSL_PROVIDER* const loaded =
      OSSL_PROVIDER_available(nullptr, "default") == 1 &&
              OSSL_PROVIDER_add_builtin(nullptr, "merlon", &start_provider) == 1
          ? OSSL_PROVIDER_try_load(nullptr, "merlon", /*retain_fallbacks=*/1)
          : nullptr;
  return loaded != nullptr ? "?provider=merlon" : "";
}

}  // namespace merlon::tls
