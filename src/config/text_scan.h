#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace merlon::config {

/// A byte of a file that YAML 1.2 §5.1 does not allow.
struct BadByte {
  std::size_t offset_bytes = 0;
  std::string problem;
};

/// The first byte that is not UTF-8 (RFC 3629) or is a control character; nullopt for good text.
[[nodiscard]] std::optional<BadByte> find_bad_byte(std::string_view text);

/// Lines and columns as people and editors count them: lines end at "\n", columns are bytes.
struct Position {
  std::uint32_t line = 1;
  std::uint32_t column = 1;
};

/// Translates positions of libyaml, which counts characters and knows more kinds of line ends
/// (a lone "\r", NEL, LS, PS), so that a caret stands under the right byte.
class Positions {
 public:
  /// `text` must be valid UTF-8 and outlive this.
  explicit Positions(std::string_view text);

  /// `index`, `line` and `column` are those of a yaml_mark_t, from 0. Constant time for ASCII text.
  [[nodiscard]] Position locate(std::size_t index, std::size_t line, std::size_t column) const;
  /// The place of a byte.
  [[nodiscard]] Position of_byte(std::size_t offset_bytes) const;

 private:
  [[nodiscard]] std::size_t byte_of(std::size_t index) const;

  std::string_view text_;
  bool simple_ = true;                      ///< ASCII with ordinary line ends: libyaml counts right
  std::vector<std::uint32_t> checkpoints_;  ///< byte of every 64th character
  std::vector<std::uint32_t> line_starts_;  ///< byte after every "\n", and 0
};

}  // namespace merlon::config
