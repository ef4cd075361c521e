#include "policy/content.h"

#include <utility>

namespace merlon::policy {

ContentRules::ContentRules(unsigned json_depth, Mark depth_at,
                           std::shared_ptr<const JsonSchema> schema, Mark schema_at)
    : json_depth_(json_depth),
      depth_at_(std::move(depth_at)),
      schema_(std::move(schema)),
      schema_at_(std::move(schema_at)) {}

Refusal ContentRules::refusal(const Error& error) const noexcept {
  const bool by_schema =
      error.code == code::kSchemaMismatch || error.code == code::kJsonDuplicateName;
  const bool to_schema = by_schema || !depth_at_.known();
  return {.status = 422,
          .error = error,
          .step = "validation",
          .line = to_schema ? &schema_at_ : &depth_at_};
}

Result<void> ContentJudge::finish(std::string_view whole, std::string* pointer) noexcept {
  const Result<std::size_t> names = finish_form();
  if (!names) return std::unexpected(names.error());
  if (rules_.schema() == nullptr) return {};
  return rules_.schema()->judge(whole, *names, pointer);
}

Result<std::size_t> ContentJudge::finish_form() noexcept {
  const Result<void> ended = json_.finish();
  if (!ended) return std::unexpected(ended.error());
  return json_.names();
}

}  // namespace merlon::policy
