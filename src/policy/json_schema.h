#pragma once

#include <atomic>
#include <cstddef>
#include <expected>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"

namespace merlon::policy {

/// A JSON Schema, draft 7, compiled for judging bodies; valijson does the work. Immutable and
/// shared by all threads.
///
/// Every keyword of draft 7 is known but these, which are refused when the schema is read, as every
/// unknown one is: `uniqueItems` (it compares each item with each), `patternProperties`,
/// `contentEncoding`, `contentMediaType`, `$id` below the root. References stay in the file (`#`,
/// `#/definitions/…`). `pattern` is a regular expression of PCRE2 in its ECMAScript manner with
/// bounded work; `format` is one of date, time, date-time, ipv4, ipv6, uuid, email, uri.
///
/// Cost: the text becomes a tree, roughly 10 to 30 ns a byte and ten times its size in memory while
/// it is judged; work beyond a fixed number of steps, a second or two of it, is refused.
class JsonSchema {
 public:
  static constexpr std::size_t kTextBytesMax = std::size_t{1} << 20U;

  /// The error says what is wrong and where: "#/properties/id: the keyword `minimun` is unknown".
  [[nodiscard]] static std::expected<std::shared_ptr<const JsonSchema>, std::string> read(
      std::string_view text);
  ~JsonSchema();
  JsonSchema(const JsonSchema&) = delete;
  JsonSchema& operator=(const JsonSchema&) = delete;

  /// Judges a text that JsonChecker has let through, with the number of names it counted. With
  /// `pointer`, the JSON pointer (RFC 6901) of the first value that is not as the schema wants, for
  /// texts of up to 64 KiB. Errors, client blame: kJsonDuplicateName, kJsonMalformed (a number
  /// beyond 64 bits), kSchemaMismatch. Allocates; never throws. Gives up early, with an error of no
  /// meaning, once `wanted`, unless null, is false.
  [[nodiscard]] Result<void> judge(std::string_view text, std::size_t names, std::string* pointer,
                                   const std::atomic<bool>* wanted = nullptr) const noexcept;

 private:
  struct Compiled;
  explicit JsonSchema(std::unique_ptr<const Compiled> compiled);
  std::unique_ptr<const Compiled> compiled_;
};

}  // namespace merlon::policy
