#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace merlon::policy {

/// Formats of JSON Schema draft 7 (§7.3) that are judged: date, time, date-time, ipv4, ipv6, uuid,
/// email, uri.
[[nodiscard]] bool knows_format(std::string_view name) noexcept;
/// Whether `text` has the format; true for a format that is not known.
[[nodiscard]] bool has_format(std::string_view text, std::string_view name) noexcept;

/// A regular expression in the manner of ECMAScript (ECMA-262), searched for anywhere in a text, by
/// PCRE2 with bounded work. Immutable, for all threads.
class TextPattern {
 public:
  enum class Found : std::uint8_t { kYes, kNo, kTooMuchWork };
  struct Search {
    Found found = Found::kTooMuchWork;
    std::uint64_t steps = 0;  ///< items of the expression tried, at all places; about 35 ns each
  };

  /// Null when the expression is wrong.
  [[nodiscard]] static std::shared_ptr<const TextPattern> compile(std::string_view expression);
  ~TextPattern();
  TextPattern(const TextPattern&) = delete;
  TextPattern& operator=(const TextPattern&) = delete;

  /// `text` is UTF-8. Neither yes nor no when it takes more than `steps_max` or 256 KiB: whoever
  /// takes that for "no" lets a hostile text through wherever a schema negates.
  [[nodiscard]] Search search(std::string_view text, std::uint64_t steps_max) const noexcept;

 private:
  explicit TextPattern(void* code) : code_(code) {}
  void* code_;
};

/// "" when `expression` compiles, else why not.
[[nodiscard]] std::string problem_of_pattern(std::string_view expression);

}  // namespace merlon::policy
