#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

/// JSON (RFC 8259) as security needs it: one text, one meaning.
namespace merlon::identity {

/// What a document may hold. Beyond any of these it is refused.
struct JsonLimits {
  std::uint32_t bytes_max = 16 * 1024;
  std::uint32_t values_max = 512;   ///< of all kinds, in the whole document
  std::uint32_t members_max = 128;  ///< of one object: names are compared with each other
  std::uint32_t depth_max = 8;      ///< lists and objects inside each other
};

enum class JsonKind : std::uint8_t { kNull, kTrue, kFalse, kNumber, kString, kArray, kObject };

class JsonDocument;

/// One value of a document; valid until the document reads another text. Cheap to copy.
class JsonValue {
 public:
  /// No value: what a name that is not there has.
  JsonValue() = default;
  [[nodiscard]] bool exists() const noexcept { return document_ != nullptr; }
  explicit operator bool() const noexcept { return exists(); }

  [[nodiscard]] bool is(JsonKind kind) const noexcept;
  /// The kind; kNull for no value.
  [[nodiscard]] JsonKind kind() const noexcept;
  /// The text of a string with its escapes resolved, or of a number as it was written.
  [[nodiscard]] std::string_view text() const noexcept;
  /// A number without fraction and exponent that fits, nothing else.
  [[nodiscard]] std::optional<std::int64_t> integer() const noexcept;
  /// The name that a member of an object has.
  [[nodiscard]] std::string_view name() const noexcept;
  /// The member of this name; no value when there is none or this is no object.
  [[nodiscard]] JsonValue find(std::string_view name) const noexcept;
  /// By JSON Pointer (RFC 6901) through objects only: "/realm_access/roles". `pointer` is empty or
  /// begins with a slash.
  [[nodiscard]] JsonValue at(std::string_view pointer) const noexcept;
  /// The first value of a list or member of an object; no value when there is none.
  [[nodiscard]] JsonValue first() const noexcept;
  /// The value after this one in the same list or object.
  [[nodiscard]] JsonValue next() const noexcept;

 private:
  friend class JsonDocument;
  JsonValue(const JsonDocument* document, std::uint32_t index)
      : document_(document), index_(index) {}
  const JsonDocument* document_ = nullptr;
  std::uint32_t index_ = 0;
};

/// A parsed text. Read again and again with the same object it allocates only while it grows.
class JsonDocument {
 public:
  /// Reads `text`, which must live as long as the values are used. Refused (kBadJson, the offset
  /// set): anything but one value with white space around it, a byte order mark, malformed UTF-8,
  /// names given twice in an object after escapes are resolved, half surrogates, U+0000, and what
  /// is beyond `limits`. simdjson and others keep duplicate names: who checks one and uses the
  /// other has been deceived.
  [[nodiscard]] Result<JsonValue> read(std::string_view text, const JsonLimits& limits = {});

 private:
  friend class JsonValue;
  friend class JsonReader;
  struct Entry {
    std::string_view text;
    std::string_view name;
    std::uint32_t first = 0;  ///< index + 1 of the first child, 0: none
    std::uint32_t next = 0;   ///< index + 1 of the next sibling, 0: none
    JsonKind kind = JsonKind::kNull;
  };
  std::vector<Entry> entries_;
  std::string unescaped_;  ///< never grows while values point into it
};

}  // namespace merlon::identity
