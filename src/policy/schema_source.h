#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace merlon::policy {

/// Keywords under which the prepared schema carries what Merlon judges itself; no schema has them.
inline constexpr const char* kOwnPattern = "merlon:pattern";
inline constexpr const char* kOwnFormat = "merlon:format";
inline constexpr const char* kOwnStep = "merlon:step";
inline constexpr const char* kOwnValues = "merlon:values";  ///< `enum` and `const`
inline constexpr const char* kOwnMultipleOf = "merlon:multipleOf";
inline constexpr const char* kOwnMaximum = "merlon:maximum";
inline constexpr const char* kOwnExclusiveMaximum = "merlon:exclusiveMaximum";
inline constexpr const char* kOwnMinimum = "merlon:minimum";
inline constexpr const char* kOwnExclusiveMinimum = "merlon:exclusiveMinimum";

/// Judges a schema of draft 7 and prepares it for valijson: what that judges inexactly or without a
/// bound goes to Merlon's own keywords, values as a text of JSON, and every subschema gets a
/// counted step, which says how many names it looks for in an object. Refuses unknown keywords,
/// values that a keyword cannot have, references that lead out of the file or nowhere, and
/// references that would judge one value for ever. "" when the schema is right, else what is wrong
/// with it.
[[nodiscard]] std::string prepare_schema(nlohmann::json& schema);

}  // namespace merlon::policy
