#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "policy/json_check.h"
#include "policy/json_schema.h"
#include "policy/policy.h"

namespace merlon::policy {

/// What a route wants of the content of bodies, which are JSON then. Immutable.
class ContentRules {
 public:
  ContentRules(unsigned json_depth, Mark depth_at, std::shared_ptr<const JsonSchema> schema,
               Mark schema_at);

  [[nodiscard]] unsigned json_depth() const noexcept { return json_depth_; }
  /// Null: any JSON.
  [[nodiscard]] const std::shared_ptr<const JsonSchema>& schema() const noexcept { return schema_; }
  /// The refusal (422, RFC 9110 §15.5.21) for an error of ContentJudge.
  [[nodiscard]] Refusal refusal(const Error& error) const noexcept;

 private:
  const unsigned json_depth_;
  const Mark depth_at_;
  const std::shared_ptr<const JsonSchema> schema_;
  const Mark schema_at_;
};

/// Judges one body, part by part as it comes. The rules outlive it.
class ContentJudge {
 public:
  explicit ContentJudge(const ContentRules& rules) noexcept
      : rules_(rules), json_(rules.json_depth()) {}

  /// Errors as of JsonChecker.
  [[nodiscard]] Result<void> take(std::string_view part) noexcept { return json_.take(part); }
  /// The body is over, `whole` is all of it. `pointer`, unless null, is where a schema does not
  /// fit.
  [[nodiscard]] Result<void> finish(std::string_view whole, std::string* pointer) noexcept;
  /// The first half of that, and what the schema needs for the other: how many names there were.
  [[nodiscard]] Result<std::size_t> finish_form() noexcept;

 private:
  const ContentRules& rules_;
  JsonChecker json_;
};

}  // namespace merlon::policy
