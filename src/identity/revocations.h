#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "base/diagnostics.h"
#include "identity/identity.h"

namespace merlon::identity {

/// Hashes and compares texts without making strings of views.
struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const noexcept {
    return std::hash<std::string_view>{}(text);
  }
};
template <class V>
using TextMap = std::unordered_map<std::string, V, TextHash, std::equal_to<>>;

/// Tokens that are refused before they expire: a local list, read with the configuration.
///
///     revoked:
///       - jti: 4f1c2a
///       - { sub: mallory }                                # every token of this subject
///       - { sub: bob, issued_before: 2027-01-31 }         # those from before
///       - issued_before: 2027-01-01T12:00:00Z             # of everybody
///
/// Immutable.
class Revocations {
 public:
  /// From a file's text; errors with their places go to `out`. nullptr after an error.
  [[nodiscard]] static std::shared_ptr<const Revocations> read(std::string path, std::string text,
                                                               Diagnostics& out);

  /// True when the list names the identity. A token without `iat` counts as issued before anything.
  [[nodiscard]] bool contains(const Identity& identity) const noexcept;

 private:
  std::unordered_set<std::string, TextHash, std::equal_to<>> token_ids_;
  TextMap<TokenTime> subjects_;  ///< tokens issued before this moment
  TokenTime everybody_before_ = 0;
};

}  // namespace merlon::identity
