#pragma once

#include <cstdint>
#include <string_view>

namespace merlon::http {

/// The fields that Merlon knows by name; `field_ids.def` lists them. kOther is every other name.
enum class FieldId : std::uint8_t {
  kOther = 0,
#define MERLON_FIELD(id, name, traits) id,
#include "http/field_ids.def"
#undef MERLON_FIELD
  kCount,
};
inline constexpr std::size_t kFieldIdCount = static_cast<std::size_t>(FieldId::kCount);

/// What is true of a field whatever its value. Bits of a set.
enum class FieldTrait : std::uint8_t {
  kOnceInRequest = 1,         ///< a second line is ambiguous: 400
  kOnceInResponse = 2,        ///< a second line is ambiguous: 502
  kHopByHop = 4,              ///< belongs to one connection (RFC 9110 §7.6.1); never forwarded
  kNeverNominated = 8,        ///< naming it in Connection is an attack on later stages: 400
  kNeverInTrailers = 16,      ///< RFC 9110 §6.5.1: framing, routing, authentication, content
  kStrippedFromClients = 32,  ///< only a trusted proxy or Merlon may say it
};

/// The id of a field name without regard to case; kOther when Merlon does not know it. Families
/// such as `X-Forwarded-Anything` map to their `*` entry. Cost: one hash, one comparison.
[[nodiscard]] FieldId field_id(std::string_view name) noexcept;
/// The same without families: any answer but kOther says that `name` is a token, too.
[[nodiscard]] FieldId single_field_id(std::string_view name) noexcept;
/// The `*` entry of the family that `name` is of; kOther when of none.
[[nodiscard]] FieldId field_family(std::string_view name) noexcept;

/// The name as Merlon writes it ("Content-Length"); empty for kOther. Static.
[[nodiscard]] std::string_view field_name(FieldId id) noexcept;

/// The same in lower case, as HTTP/2 has it; empty also for a family, whose fields have others.
[[nodiscard]] std::string_view lower_field_name(FieldId id) noexcept;

/// True when the field has the trait. Always false for kOther.
[[nodiscard]] bool has_trait(FieldId id, FieldTrait trait) noexcept;

/// The field that `name` could be taken for by software that reads `_` and `.` as `-` (CGI, WSGI,
/// PHP): "X_Forwarded_For" gives kXForwardedFor. kOther when there is none, or when the name has
/// neither character. `name` is at most `kAliasNameBytesMax`; longer names alias nothing.
[[nodiscard]] FieldId aliased_field(std::string_view name) noexcept;
inline constexpr std::size_t kAliasNameBytesMax = 64;  ///< longer than every name in the list

/// True when the two names are the same to software that ignores case and reads `_` and `.` as `-`.
[[nodiscard]] bool same_when_aliased(std::string_view a, std::string_view b) noexcept;

}  // namespace merlon::http
