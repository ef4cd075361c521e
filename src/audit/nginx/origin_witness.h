#pragma once

#include <string>
#include <string_view>

namespace merlon::audit::nginx {

/// An origin that a pattern lets through and that the one who wrote it did not mean.
struct Witness {
  std::string origin;        ///< "https://example.com.attacker.test"; "" when none was found
  std::string why;           ///< what is wrong with the pattern: "is not anchored at its end"
  bool only_scheme = false;  ///< the host is the intended one, only http:// in place of https://
};

/// Looks for an origin of another site that matches `regex`, by bending a text that the pattern
/// was made for. What is returned really matches.
[[nodiscard]] Witness find_witness(std::string_view regex, bool ignore_case);

}  // namespace merlon::audit::nginx
