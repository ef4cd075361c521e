#include "policy/json_schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <utility>

#include "policy/json_check.h"
#include "policy/schema_checks.h"
#include "policy/schema_number.h"
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
/// Whether somebody still wants to know; null: somebody does.
thread_local const std::atomic<bool>* still_wanted = nullptr;

std::uint64_t steps_for(std::size_t bytes) noexcept {
  return std::min(kStepsMax, kStepsMin + kStepsPerByte * bytes);
}

void take_steps(std::uint64_t steps) {
  if (steps_left < steps) throw std::runtime_error("too many steps");
  if (still_wanted != nullptr && !still_wanted->load(std::memory_order_relaxed))
    throw std::runtime_error("nobody wants to know");
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
  /// `names`: that are looked for where the value is an object.
  explicit StepCheck(std::uint64_t names) : names_(names) {}
  [[nodiscard]] FrozenValue* clone() const override { return new StepCheck(*this); }
  [[nodiscard]] bool holds(const Adapter& value) const override {
    take_steps(1 + (value.isObject() ? names_ : 0));
    return true;
  }

 private:
  std::uint64_t names_;
};

SchemaNumber number_of(const Adapter& value) {
  return value.isInteger() ? SchemaNumber(value.getInteger()) : SchemaNumber(value.getDouble());
}

SchemaNumber number_of(const json& value) {
  return value.is_number_integer() ? SchemaNumber(value.get<std::int64_t>())
                                   : SchemaNumber(value.get<double>());
}

/// Each value that is compared is a step.
// NOLINTNEXTLINE(misc-no-recursion): as deep as the schema's own value.
bool is_same(const json& wanted, const Adapter& value) {
  take_steps(1);
  if (wanted.is_number()) return value.isNumber() && number_of(wanted) == number_of(value);
  if (wanted.is_string())
    return value.isString() && value.getString() == wanted.get_ref<const std::string&>();
  if (wanted.is_array()) {
    if (!value.isArray() || value.getArraySize() != wanted.size()) return false;
    auto item = wanted.begin();
    return value.applyToArray([&](const Adapter& one) { return is_same(*item++, one); });
  }
  if (wanted.is_object()) {
    if (!value.isObject() || value.getObjectSize() != wanted.size()) return false;
    return value.applyToObject([&](const std::string& name, const Adapter& one) {
      const auto member = wanted.find(name);
      return member != wanted.end() && is_same(*member, one);
    });
  }
  if (wanted.is_boolean()) return value.isBool() && value.getBool() == wanted.get<bool>();
  return value.isNull();
}

/// One of a list of values, of which texts are found without comparing with each.
class ValuesCheck final : public OwnCheck {
 public:
  explicit ValuesCheck(const json& values) {
    for (const json& value : values) {
      if (value.is_string()) {
        texts_.insert(value.get<std::string>());
      } else {
        others_.push_back(value);
      }
    }
  }
  [[nodiscard]] FrozenValue* clone() const override { return new ValuesCheck(*this); }
  [[nodiscard]] bool holds(const Adapter& value) const override {
    if (value.isString()) return texts_.contains(value.getString());
    return std::ranges::any_of(others_, [&](const json& one) { return is_same(one, value); });
  }

 private:
  std::set<std::string> texts_;
  std::vector<json> others_;
};

/// What is no number is none of its affair.
class NumberCheck final : public OwnCheck {
 public:
  using Judge = bool (*)(const SchemaNumber& value, const SchemaNumber& limit);
  NumberCheck(Judge judge, const SchemaNumber& limit) : judge_(judge), limit_(limit) {}
  [[nodiscard]] FrozenValue* clone() const override { return new NumberCheck(*this); }
  [[nodiscard]] bool holds(const Adapter& value) const override {
    return !value.isNumber() || judge_(number_of(value), limit_);
  }

 private:
  Judge judge_;
  SchemaNumber limit_;
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
  const auto add_number = [&add](const char* key, NumberCheck::Judge judge) {
    add(key, [judge](const Adapter& limit) {
      return NumberCheck(judge, number_of(json::parse(limit.asString())));
    });
  };
  using Number = const SchemaNumber&;
  add_number(kOwnMultipleOf, [](Number value, Number unit) { return value.is_multiple_of(unit); });
  add_number(kOwnMaximum, [](Number value, Number limit) { return value <= limit; });
  add_number(kOwnExclusiveMaximum, [](Number value, Number limit) { return value < limit; });
  add_number(kOwnMinimum, [](Number value, Number limit) { return value >= limit; });
  add_number(kOwnExclusiveMinimum, [](Number value, Number limit) { return value > limit; });
  add(kOwnStep, [](const Adapter& names) {
    return StepCheck(static_cast<std::uint64_t>(names.asInteger()));
  });
  add(kOwnValues,
      [](const Adapter& values) { return ValuesCheck(json::parse(values.asString())); });
  add(kOwnFormat, [](const Adapter& value) { return FormatCheck(value.asString()); });
  add(kOwnPattern,
      [](const Adapter& value) { return PatternCheck(TextPattern::compile(value.asString())); });
}

/// Members of all objects.
// NOLINTNEXTLINE(misc-no-recursion): as deep as the checker lets texts nest.
std::size_t count_members(const json& value) {
  if (!value.is_structured()) return 0;
  std::size_t members = value.is_object() ? value.size() : 0;
  for (const json& item : value) members += count_members(item);
  return members;
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
  // The parser of the library takes a NUL for the end, and the last of two members of one name.
  JsonChecker checker;
  if (!checker.take(text) || !checker.finish()) return std::unexpected("it is no JSON");
  json document = json::parse(text, nullptr, false);
  if (document.is_discarded() || !integers_fit(text))
    return std::unexpected("a number in it is beyond 64 bits");
  if (count_members(document) != checker.names())
    return std::unexpected("an object in it has a name twice");
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

Result<void> JsonSchema::judge(std::string_view text, std::size_t names, std::string* pointer,
                               const std::atomic<bool>* wanted) const noexcept {
  still_wanted = wanted;
  try {
    const json document = json::parse(text, nullptr, false);
    if (document.is_discarded() || !integers_fit(text))
      return std::unexpected(mismatch(code::kJsonMalformed, "a number is beyond 64 bits"));
    if (count_members(document) != names)
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
