#include "policy/schema_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string_view>
#include <vector>

#include "policy/schema_checks.h"

namespace merlon::policy {
namespace {

using nlohmann::json;

constexpr unsigned kDepthMax = 64;
constexpr std::size_t kSubschemasMax = 10'000;
// Subschemas that judge one and the same value inside of each other. Each level of a text may go
// through all of them again, on the same stack.
constexpr unsigned kChainMax = 32;

/// What the value of a keyword must be.
enum class Form : std::uint8_t {
  kAnything,
  kText,
  kBoolean,
  kNumber,
  kAboveZero,
  kCount,
  kTexts,
  kType,
  kList,
  kSchema,
  kSchemas,
  kSchemaOrSchemas,
  kSchemaMap,
  kDependencies,
  kPattern,
  kFormat,
};

const std::map<std::string_view, Form>& keywords() {
  static const std::map<std::string_view, Form> all = {
      {"$comment", Form::kText},
      {"title", Form::kText},
      {"description", Form::kText},
      {"default", Form::kAnything},
      {"examples", Form::kList},
      {"readOnly", Form::kBoolean},
      {"writeOnly", Form::kBoolean},
      {"definitions", Form::kSchemaMap},
      {"type", Form::kType},
      {"enum", Form::kList},
      {"const", Form::kAnything},
      {"multipleOf", Form::kAboveZero},
      {"maximum", Form::kNumber},
      {"exclusiveMaximum", Form::kNumber},
      {"minimum", Form::kNumber},
      {"exclusiveMinimum", Form::kNumber},
      {"maxLength", Form::kCount},
      {"minLength", Form::kCount},
      {"pattern", Form::kPattern},
      {"format", Form::kFormat},
      {"items", Form::kSchemaOrSchemas},
      {"additionalItems", Form::kSchema},
      {"maxItems", Form::kCount},
      {"minItems", Form::kCount},
      {"contains", Form::kSchema},
      {"maxProperties", Form::kCount},
      {"minProperties", Form::kCount},
      {"required", Form::kTexts},
      {"properties", Form::kSchemaMap},
      {"additionalProperties", Form::kSchema},
      {"dependencies", Form::kDependencies},
      {"propertyNames", Form::kSchema},
      {"if", Form::kSchema},
      {"then", Form::kSchema},
      {"else", Form::kSchema},
      {"allOf", Form::kSchemas},
      {"anyOf", Form::kSchemas},
      {"oneOf", Form::kSchemas},
      {"not", Form::kSchema},
  };
  return all;
}

constexpr std::pair<const char*, const char*> kOwnTexts[] = {{"pattern", kOwnPattern},
                                                             {"format", kOwnFormat}};
constexpr std::pair<const char*, const char*> kOwnValued[] = {
    {"enum", kOwnValues},     {"multipleOf", kOwnMultipleOf},
    {"maximum", kOwnMaximum}, {"exclusiveMaximum", kOwnExclusiveMaximum},
    {"minimum", kOwnMinimum}, {"exclusiveMinimum", kOwnExclusiveMinimum},
};
constexpr std::array kTypes = {"null", "boolean", "object", "array", "number", "integer", "string"};
/// Keywords whose subschemas judge the very value that their own schema judges.
constexpr std::array kInPlace = {"allOf", "anyOf", "oneOf", "not",
                                 "if",    "then",  "else",  "dependencies"};

bool is_type(const json& value) {
  return value.is_string() &&
         std::ranges::find(kTypes, value.get<std::string>()) != std::end(kTypes);
}

bool all_texts(const json& value) {
  return value.is_array() &&
         std::ranges::all_of(value, [](const json& v) { return v.is_string(); });
}

bool is_list(const json& value) { return value.is_array() && !value.empty(); }

const char* expected_of(Form form) {
  switch (form) {
    case Form::kText:
    case Form::kPattern:
      return "a text is expected";
    case Form::kBoolean:
      return "true or false is expected";
    case Form::kNumber:
      return "a number is expected";
    case Form::kAboveZero:
      return "a number above 0 is expected";
    case Form::kCount:
      return "a count is expected";
    case Form::kTexts:
      return "a list of texts is expected";
    case Form::kType:
      return "a type, or a list of types, is expected";
    case Form::kList:
      return "a list that is not empty is expected";
    case Form::kSchemas:
    case Form::kSchemaOrSchemas:
      return "a list of schemas is expected";
    case Form::kSchemaMap:
    case Form::kDependencies:
      return "an object is expected";
    case Form::kFormat:
      return "the format is unknown, or not supported";
    case Form::kAnything:
    case Form::kSchema:
      break;
  }
  return "";
}

/// Whether the value of a keyword has its form; what is inside of schemas is judged by itself.
bool has_form(Form form, const json& value) {
  switch (form) {
    case Form::kText:
    case Form::kPattern:
      return value.is_string();
    case Form::kBoolean:
      return value.is_boolean();
    case Form::kNumber:
      return value.is_number();
    case Form::kAboveZero:
      return value.is_number() && value.get<double>() > 0;
    case Form::kCount:
      return value.is_number_unsigned() && value.get<std::uint64_t>() <= INT32_MAX;
    case Form::kTexts:
      return all_texts(value);
    case Form::kType:
      return is_type(value) || (is_list(value) && std::ranges::all_of(value, is_type));
    case Form::kList:
    case Form::kSchemas:
      return is_list(value);
    case Form::kSchemaOrSchemas:
      return !value.is_array() || !value.empty();
    case Form::kSchemaMap:
    case Form::kDependencies:
      return value.is_object();
    case Form::kFormat:
      return value.is_string() && knows_format(value.get<std::string>());
    case Form::kAnything:
    case Form::kSchema:
      break;
  }
  return true;
}

/// What is wrong with the value of a keyword; "" when nothing is.
std::string problem_of(Form form, const json& value) {
  if (!has_form(form, value)) return expected_of(form);
  return form == Form::kPattern ? problem_of_pattern(value.get<std::string>()) : std::string();
}

class Preparer {
 public:
  explicit Preparer(json& root) : root_(root) {}

  std::string run() {
    if (root_.is_object()) {
      root_.erase("$schema");
      root_.erase("$id");
    }
    subschema(root_, "#", 0);
    if (problem_.empty()) find_endless();
    return problem_;
  }

 private:
  void say(const std::string& at, std::string what) {
    if (problem_.empty()) problem_ = fmt::format("{}: {}", at, std::move(what));
  }

  // NOLINTNEXTLINE(misc-no-recursion): as deep as kDepthMax.
  void subschema(json& schema, const std::string& at, unsigned depth) {
    if (!problem_.empty()) return;
    if (depth > kDepthMax) return say(at, "it nests too deep");
    if (edges_.size() > kSubschemasMax) return say(at, "it has too many parts");
    if (schema.is_boolean()) {
      // valijson takes booleans in some places only; these mean the same everywhere.
      schema = schema.get<bool>() ? json::object() : json{{"not", json::object()}};
    }
    if (!schema.is_object()) return say(at, "a schema is an object, true or false");
    edges_[at];
    if (schema.contains("$ref")) return reference(schema, at);
    for (auto& [name, value] : schema.items()) {
      const auto known = keywords().find(name);
      if (known == keywords().end())
        return say(at, fmt::format("the keyword `{}` is unknown, or not supported", name));
      keyword(name, known->second, value, at, depth);
    }
    if ((schema.contains("then") || schema.contains("else")) && !schema.contains("if"))
      return say(at, "`then` and `else` do nothing without `if`");
    for (const auto& [name, own] : kOwnTexts) rename(schema, name, own);
    if (schema.contains("const")) {
      // Beside an `enum` both have to hold.
      schema["allOf"].push_back({{kOwnValues, json::array({schema["const"]}).dump()}});
      schema.erase("const");
    }
    for (const auto& [name, own] : kOwnValued) {
      if (schema.contains(name)) schema[name] = schema[name].dump();
      rename(schema, name, own);
    }
    if (problem_.empty()) count_step(schema);
  }

  /// `allOf` is judged before all else, so that what fails is counted, too. Behind its own items,
  /// whose places references may name; they count themselves.
  static void count_step(json& schema) {
    std::size_t names = 0;
    for (const char* const name : {"properties", "required", "dependencies"})
      names += schema.contains(name) ? schema[name].size() : 0;
    schema["allOf"].push_back({{kOwnStep, names}});
  }

  static void rename(json& schema, const char* from, const char* to) {
    if (!schema.contains(from)) return;
    schema[to] = std::move(schema[from]);
    schema.erase(from);
  }

  void reference(const json& schema, const std::string& at) {
    if (schema.size() > 1) return say(at, "draft 7 ignores other keywords beside `$ref`");
    const json& value = schema["$ref"];
    if (!value.is_string() || !value.get<std::string>().starts_with('#'))
      return say(at, "references stay in the file: `#` or `#/definitions/…`");
    const std::string target = value.get<std::string>();
    if (target.size() > 1 && target[1] != '/')
      return say(at, "references are JSON pointers: `#/definitions/…`");
    if (target.find('%') != std::string::npos) return say(at, "references are not encoded");
    try {
      static_cast<void>(root_.at(json::json_pointer(target.substr(1))));
    } catch (const json::exception&) {
      return say(at, fmt::format("nothing is at `{}`", target));
    }
    edges_[at].push_back(target);
    references_.emplace_back(at, target);
  }

  // NOLINTNEXTLINE(misc-no-recursion): see subschema.
  void keyword(const std::string& name, Form form, json& value, const std::string& at,
               unsigned depth) {
    const std::string here = fmt::format("{}/{}", at, name);
    const std::string wrong = problem_of(form, value);
    if (!wrong.empty()) return say(here, wrong);
    const bool in_place = std::ranges::find(kInPlace, name) != std::end(kInPlace);
    const auto child = [&](json& schema, const std::string& place) {
      if (in_place) edges_[at].push_back(place);
      subschema(schema, place, depth + 1);
    };
    if (form == Form::kSchema || (form == Form::kSchemaOrSchemas && !value.is_array())) {
      child(value, here);
    } else if (form == Form::kSchemas || form == Form::kSchemaOrSchemas) {
      for (std::size_t i = 0; i < value.size(); ++i) child(value[i], fmt::format("{}/{}", here, i));
    } else if (form == Form::kSchemaMap || form == Form::kDependencies) {
      for (auto& [key, entry] : value.items()) {
        if (form == Form::kDependencies && all_texts(entry)) continue;
        child(entry, fmt::format("{}/{}", here,
                                 json::json_pointer("").operator/=(key).to_string().substr(1)));
      }
    }
  }

  /// References that lead back to where they stand without going into a value.
  void find_endless() {
    for (const auto& [at, target] : references_) {
      if (!edges_.contains(target)) return say(at, fmt::format("no schema is at `{}`", target));
    }
    std::map<std::string_view, unsigned> chains;
    for (const auto& [place, targets] : edges_) static_cast<void>(chain_from(place, chains));
  }

  /// How many subschemas the longest chain from `place` has; 0 while that is being found out.
  // NOLINTNEXTLINE(misc-no-recursion): as deep as there are subschemas, kSubschemasMax.
  unsigned chain_from(std::string_view place, std::map<std::string_view, unsigned>& chains) {
    if (!problem_.empty()) return 0;
    const auto [seen, is_new] = chains.try_emplace(place, 0);
    if (!is_new) {
      if (seen->second == 0) say(std::string(place), "its references form a loop");
      return seen->second;
    }
    unsigned longest = 0;
    for (const std::string& next : edges_.find(std::string(place))->second)
      longest = std::max(longest, chain_from(next, chains));
    if (longest >= kChainMax)
      say(std::string(place), "it checks one value through too long a chain of references");
    return chains[place] = longest + 1;
  }

  json& root_;
  std::string problem_;
  std::map<std::string, std::vector<std::string>> edges_;  ///< in-place, by subschema
  std::vector<std::pair<std::string, std::string>> references_;
};

}  // namespace

std::string prepare_schema(json& schema) {
  if (schema.is_object() && schema.contains("$schema")) {
    const json& draft = schema["$schema"];
    if (draft != "http://json-schema.org/draft-07/schema#" &&
        draft != "http://json-schema.org/draft-07/schema")
      return "#: schemas are of draft 7: `http://json-schema.org/draft-07/schema#`";
  }
  return Preparer(schema).run();
}

}  // namespace merlon::policy
