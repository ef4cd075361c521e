#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace merlon::policy {

/// Keywords under which the prepared schema carries what Merlon judges itself; no schema has them.
inline constexpr const char* kOwnPattern = "merlon:pattern";
inline constexpr const char* kOwnFormat = "merlon:format";
inline constexpr const char* kOwnStep = "merlon:step";

/// Judges a schema of draft 7 and prepares it for valijson: `pattern` and `format` go to Merlon's
/// own keywords, and every subschema gets a counted step. Refuses unknown keywords, values that a
/// keyword cannot have, references that lead out of the file or nowhere, and references that would
/// judge one value for ever. "" when the schema is right, else what is wrong with it.
[[nodiscard]] std::string prepare_schema(nlohmann::json& schema);

}  // namespace merlon::policy
