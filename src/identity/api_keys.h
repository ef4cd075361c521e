#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/diagnostics.h"
#include "base/error.h"
#include "base/ip.h"
#include "base/secret.h"
#include "identity/digest.h"
#include "identity/identity.h"
#include "identity/revocations.h"

/// API keys: `mk_ID_SECRET`. The file holds the SHA-256 of each secret, never the secret: with 256
/// random bits a hash that is slow on purpose would only slow down the gateway.
namespace merlon::identity {

/// A key that was just made.
struct NewApiKey {
  std::string id;    ///< 12 characters, public: it stands in logs
  Secret key;        ///< what the client sends; shown once
  std::string hash;  ///< "sha256:…" in lower-case hexadecimal, for the file
};
/// From OpenSSL's generator; nullopt when it has no randomness.
[[nodiscard]] std::optional<NewApiKey> make_api_key();

/// The keys of one file:
///
///     keys:
///       - id: k3m9x0q2w8ra
///         owner: billing
///         hash: sha256:9f86d0…
///         scopes: [orders.read]
///         expires: 2027-01-31
///         networks: [10.0.0.0/8]
///
/// Immutable.
class ApiKeys {
 public:
  [[nodiscard]] static std::shared_ptr<const ApiKeys> read(std::string path, std::string text,
                                                           Diagnostics& out);

  /// The identity of who sent `key` from `client`. kApiKeyUnknown for everything but a key of the
  /// file, in a time that does not tell how much of it was right; kApiKeyExpired, kApiKeyNetwork.
  [[nodiscard]] Result<std::shared_ptr<const Identity>> authenticate(std::string_view key,
                                                                     const IpAddress& client,
                                                                     TokenTime now,
                                                                     Hasher& hasher) const;
  [[nodiscard]] std::size_t size() const noexcept { return keys_.size(); }

 private:
  struct Key {
    Sha256 hash{};
    std::vector<Cidr> networks;
    std::shared_ptr<const Identity> identity;
  };
  TextMap<Key> keys_;
};

}  // namespace merlon::identity
