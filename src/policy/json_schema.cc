#include "policy/json_schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "policy/schema_checks.h"
#include "policy/schema_source.h"

// The library's header is checked by its authors' flags, not ours.
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Weverything"
#define VALIJSON_USE_EXCEPTIONS 1
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/constraint_builder.hpp>
#include <valijson/constraints/concrete_constraints.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validation_results.hpp>
#include <valijson/validator.hpp>
#pragma clang diagnostic pop

namespace merlon::policy {
namespace {

using nlohmann::json;
using valijson::adapters::Adapter;
using valijson::adapters::FrozenValue;
using JsonAdapter = valijson::adapters::NlohmannJsonAdapter;

// A value that is judged by a subschema is a step. A text has at most a value for every two bytes,
// and honest schemas judge each a few times; alternatives within alternatives could take for ever.
constexpr std::uint64_t kStepsMin = 10'000;
constexpr std::uint64_t kStepsPerByte = 8;
constexpr std::uint64_t kStepsMax = 4'000'000;
constexpr std::uint64_t kPatternStepsPerStep = 4;  // of a regular expression: each is that quick
constexpr std::size_t kPointerTextBytesMax = 64UL * 1024;  // every mismatch in it is collected
constexpr std::size_t kPointerBytesMax = 512;

/// Steps left for the text in progress.
thread_local std::uint64_t steps_left = 0;

std::uint64_t steps_for(std::size_t bytes) noexcept {
  return std::min(kStepsMax, kStepsMin + kStepsPerByte * bytes);
}

void take_steps(std::uint64_t steps) {
  if (steps_left < steps) throw std::runtime_error("too many steps");
  steps_left -= steps;
}

/// A check of ours in the place where the library compares with a constant.
class OwnCheck : public FrozenValue {
 public:
  [[nodiscard]] virtual bool holds(const Adapter& value) const = 0;
  [[nodiscard]] bool equalTo(const Adapter& value, bool /*strict*/) const final {
    return holds(value);
  }
};

class StepCheck final : public OwnCheck {
 public:
  [[nodiscard]] FrozenValue* clone() const override { return new StepCheck(*this); }
  [[nodiscard]] bool holds(const Adapter& /*value*/) const override {
    take_steps(1);
    return true;
  }
};

class PatternCheck final : public OwnCheck {
 public:
  explicit PatternCheck(std::shared_ptr<const TextPattern> pattern)
      : pattern_(std::move(pattern)) {}
  [[nodiscard]] FrozenValue* clone() const override { return new PatternCheck(*this); }
  [[nodiscard]] bool holds(const Adapter& value) const override {
    if (!value.isString()) return true;
    const TextPattern::Search search =
        pattern_->search(value.asString(), steps_left * kPatternStepsPerStep);
    if (search.found == TextPattern::Found::kTooMuchWork) throw std::runtime_error("too much work");
    take_steps(search.steps / kPatternStepsPerStep);
    return search.found == TextPattern::Found::kYes;
  }

 private:
  std::shared_ptr<const TextPattern> pattern_;
};

class FormatCheck final : public OwnCheck {
 public:
  explicit FormatCheck(std::string name) : name_(std::move(name)) {}
  [[nodiscard]] FrozenValue* clone() const override { return new FormatCheck(*this); }
  [[nodiscard]] bool holds(const Adapter& value) const override {
    return !value.isString() || has_format(value.asString(), name_);
  }

 private:
  std::string name_;
};

/// Hands a check to ConstConstraint, which takes its value from an adapter.
class CheckHandle final : public JsonAdapter {
 public:
  explicit CheckHandle(const OwnCheck& check) : check_(check) {}
  [[nodiscard]] FrozenValue* freeze() const override { return check_.clone(); }

 private:
  const OwnCheck& check_;
};

template <class Make>
class CheckBuilder final : public valijson::ConstraintBuilder {
 public:
  explicit CheckBuilder(Make make) : make_(std::move(make)) {}
  valijson::constraints::Constraint* make(const Adapter& value) const override {
    const auto check = make_(value);
    auto constraint = std::make_unique<valijson::constraints::ConstConstraint>();
    constraint->setValue(CheckHandle(check));
    return constraint.release();
  }

 private:
  Make make_;
};

void add_own_checks(valijson::SchemaParser& parser) {
  // The parser owns its builders.
  const auto add = [&parser](const char* key, auto make) {
    parser.addConstraintBuilder(key, new CheckBuilder<decltype(make)>(make));
  };
  add(kOwnStep, [](const Adapter&) { return StepCheck(); });
  add(kOwnFormat, [](const Adapter& value) { return FormatCheck(value.asString()); });
  add(kOwnPattern,
      [](const Adapter& value) { return PatternCheck(TextPattern::compile(value.asString())); });
}

/// Members of all objects; false when a number is beyond 64 bits, which the library would wrap.
// NOLINTNEXTLINE(misc-no-recursion): as deep as the checker lets texts nest.
bool count_members(const json& value, std::size_t& members) {
  if (value.is_number_unsigned()) return value.get<std::uint64_t>() <= INT64_MAX;
  if (!value.is_structured()) return true;
  if (value.is_object()) members += value.size();
  for (const json& item : value) {
    if (!count_members(item, members)) return false;
  }
  return true;
}

/// From the library's path, "<root>", "[items]", "[3]", to RFC 6901.
std::string pointer_of(const std::vector<std::string>& path) {
  std::string out;
  for (const std::string& part : path) {
    if (part.size() < 2 || part.front() != '[') continue;
    out += '/';
    for (const char c : std::string_view(part).substr(1, part.size() - 2)) {
      if (c == '~' || c == '/') {
        out += c == '~' ? "~0" : "~1";
      } else {
        out += c;
      }
    }
    // Names are the client's own: a long one is not repeated.
    if (out.size() > kPointerBytesMax) return {};
  }
  return out;
}

Error mismatch(std::uint16_t code, const char* what) {
  return {.code = code, .blame = Blame::kClient, .what = what};
}

}  // namespace

struct JsonSchema::Compiled {
  valijson::Schema schema;
};

JsonSchema::JsonSchema(std::unique_ptr<const Compiled> compiled) : compiled_(std::move(compiled)) {}
JsonSchema::~JsonSchema() = default;

std::expected<std::shared_ptr<const JsonSchema>, std::string> JsonSchema::read(
    std::string_view text) {
  if (text.size() > kTextBytesMax) return std::unexpected("it is larger than 1MiB");
  json document = json::parse(text, nullptr, false);
  if (document.is_discarded()) return std::unexpected("it is no JSON");
  std::string problem = prepare_schema(document);
  if (!problem.empty()) return std::unexpected(std::move(problem));
  try {
    auto compiled = std::make_unique<Compiled>();
    valijson::SchemaParser parser(valijson::SchemaParser::kDraft7);
    add_own_checks(parser);
    parser.populateSchema(JsonAdapter(document), compiled->schema);
    return std::shared_ptr<const JsonSchema>(new JsonSchema(std::move(compiled)));
  } catch (const std::exception& error) {
    return std::unexpected(fmt::format("valijson refuses it: {}", error.what()));
  }
}

Result<void> JsonSchema::judge(std::string_view text, std::size_t names,
                               std::string* pointer) const noexcept {
  try {
    const json document = json::parse(text, nullptr, false);
    if (document.is_discarded())
      return std::unexpected(mismatch(code::kJsonMalformed, "a number is beyond 64 bits"));
    std::size_t members = 0;
    if (!count_members(document, members))
      return std::unexpected(mismatch(code::kJsonMalformed, "a number is beyond 64 bits"));
    if (members != names)
      return std::unexpected(mismatch(code::kJsonDuplicateName, "an object has a name twice"));
    const JsonAdapter adapter(document);
    steps_left = steps_for(text.size());
    valijson::Validator validator(valijson::Validator::kStrongTypes);
    if (validator.validate(compiled_->schema, adapter, nullptr)) return {};
    if (pointer != nullptr && text.size() <= kPointerTextBytesMax) {
      valijson::ValidationResults results;
      steps_left = steps_for(text.size());
      static_cast<void>(validator.validate(compiled_->schema, adapter, &results));
      valijson::ValidationResults::Error first;
      if (results.popError(first)) *pointer = pointer_of(first.context);
    }
    return std::unexpected(mismatch(code::kSchemaMismatch, "the body is not as the schema wants"));
  } catch (const std::exception&) {
    return std::unexpected(
        mismatch(code::kSchemaMismatch, "judging the body by its schema takes too much"));
  }
}

}  // namespace merlon::policy
