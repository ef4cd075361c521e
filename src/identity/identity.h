#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "identity/digest.h"

/// Who asks, once that is proven: what authorisation, limits, logs and upstreams go by.
namespace merlon::identity {

enum class Method : std::uint8_t { kJwt, kIntrospection, kApiKey, kClientCertificate };

/// "jwt", "introspection", "api_key" or "client_certificate".
[[nodiscard]] std::string_view name_of(Method method) noexcept;

/// Seconds since 1970, as tokens count them (RFC 7519 §2, NumericDate).
using TokenTime = std::int64_t;
[[nodiscard]] TokenTime token_time(WallTime at) noexcept;

/// What is put into an Identity. All of it is copied.
struct IdentityParts {
  Method method = Method::kJwt;
  std::string_view subject{};                 ///< "" when the credential names none
  std::string_view client_id{};               ///< of OAuth, or the id of an API key
  std::string_view token_id{};                ///< `jti`
  std::string_view scopes{};                  ///< separated by single spaces
  std::string_view dpop_thumbprint{};         ///< `cnf.jkt` as written, "" when not bound
  std::string_view certificate_thumbprint{};  ///< `cnf.x5t#S256` as written, "" when not bound
  std::optional<TokenTime> expires{};
  std::optional<TokenTime> not_before{};
  std::optional<TokenTime> issued{};
  /// One list of values for each claim that the configuration asks for, in its order.
  std::vector<std::vector<std::string_view>> claims{};
};

/// A proven identity in one piece of memory beside its head: a hundred thousand of them are kept.
/// Immutable; texts are views into it.
class Identity {
 public:
  /// nullopt when a text is longer than 64 KiB, which no credential within its limits has.
  [[nodiscard]] static std::shared_ptr<const Identity> make(const IdentityParts& parts);

  [[nodiscard]] Method method() const noexcept { return method_; }
  [[nodiscard]] std::string_view subject() const noexcept { return text(kSubject); }
  [[nodiscard]] std::string_view client_id() const noexcept { return text(kClientId); }
  [[nodiscard]] std::string_view token_id() const noexcept { return text(kTokenId); }
  [[nodiscard]] std::string_view scopes() const noexcept { return text(kScopes); }
  [[nodiscard]] std::string_view dpop_thumbprint() const noexcept { return text(kDpop); }
  [[nodiscard]] std::string_view certificate_thumbprint() const noexcept {
    return text(kCertificate);
  }
  [[nodiscard]] std::optional<TokenTime> expires() const noexcept { return date(expires_); }
  [[nodiscard]] std::optional<TokenTime> not_before() const noexcept { return date(not_before_); }
  [[nodiscard]] std::optional<TokenTime> issued() const noexcept { return date(issued_); }

  /// True when `scope` is one of the scopes, compared exactly.
  [[nodiscard]] bool has_scope(std::string_view scope) const noexcept;
  /// True when claim number `claim` has a value equal to `value`.
  [[nodiscard]] bool claim_is(std::size_t claim, std::string_view value) const noexcept;
  /// The values of claim number `claim`, joined by commas.
  [[nodiscard]] std::string claim_text(std::size_t claim) const;
  /// The first value of claim number `claim` when it is the only one, otherwise nothing.
  [[nodiscard]] std::optional<std::string_view> claim_value(std::size_t claim) const noexcept;
  /// What tells callers apart for limits and logs: subject, or else the client.
  [[nodiscard]] std::string_view principal() const noexcept {
    return subject().empty() ? client_id() : subject();
  }
  /// Calls `visit` with each value of claim number `claim`.
  template <class Visit>
  void for_each_value(std::size_t claim, Visit visit) const {
    visit_claim(claim, [&](std::string_view value) {
      visit(value);
      return false;
    });
  }
  /// Bytes of memory that it takes.
  [[nodiscard]] std::size_t memory_bytes() const noexcept {
    return sizeof(Identity) + data_.capacity() + kBlockBytes;
  }

 private:
  enum Text : std::uint8_t { kSubject, kClientId, kTokenId, kScopes, kDpop, kCertificate, kTexts };
  // What the allocator and the reference count add to the two blocks.
  static constexpr std::size_t kBlockBytes = 48;
  static constexpr TokenTime kAbsent = INT64_MIN;

  [[nodiscard]] std::string_view text(Text which) const noexcept;
  [[nodiscard]] static std::optional<TokenTime> date(TokenTime t) noexcept {
    return t == kAbsent ? std::nullopt : std::optional(t);
  }
  /// Calls `visit` with each value of the claim until it returns true.
  template <class Visit>
  bool visit_claim(std::size_t claim, Visit visit) const {
    std::string_view in = std::string_view(data_).substr(ends_[kTexts - 1]);
    for (std::size_t i = 0; !in.empty(); ++i) {
      for (std::size_t left = read_size(in); left > 0; --left) {
        const std::size_t size = read_size(in);
        if (i == claim && visit(in.substr(0, size))) return true;
        in.remove_prefix(size);
      }
      if (i == claim) return false;
    }
    return false;
  }
  /// Takes a size off the front of `in`.
  static std::size_t read_size(std::string_view& in) noexcept;

  TokenTime expires_ = kAbsent;
  TokenTime not_before_ = kAbsent;
  TokenTime issued_ = kAbsent;
  std::string data_;  ///< the texts one after another, then for each claim a count and its values
  std::uint16_t ends_[kTexts] = {};  ///< where each text ends
  Method method_ = Method::kJwt;
};

inline constexpr std::size_t kPseudonymBytes = 16;
/// What stands in logs for an identity: the first 16 hexadecimal digits of the SHA-256 of the
/// provider's name, a line end and the principal. The same caller has the same everywhere and
/// always, so that lines can be brought together; who it is takes a guess to find out. Written to
/// `out`.
[[nodiscard]] std::string_view pseudonym(std::string_view provider, const Identity& identity,
                                         Hasher& hasher,
                                         std::span<char, kPseudonymBytes> out) noexcept;

}  // namespace merlon::identity
