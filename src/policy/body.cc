#include "policy/body.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <set>

#include "base/ascii.h"
#include "config/shown.h"
#include "policy/media_type.h"
#include "policy/value_types.h"

namespace merlon::policy {
namespace {

using config::shown;
using http::FieldId;

constexpr std::uint64_t kMiB = 1024ULL * 1024;
constexpr std::size_t kTypesMax = 64;

bool has_body(const http::RequestHead& head) noexcept {
  if (head.framing == http::Framing::kNone) return false;
  return head.framing != http::Framing::kLength || head.content_length != 0;
}

/// Refuses bodies of a type that the route does not list (415, RFC 9110 §15.5.16).
class ContentTypes final : public Policy {
 public:
  explicit ContentTypes(const BodyConfig& config) : at_(config.content_types.at) {
    for (const auto& type : *config.content_types) types_.push_back(*type);
    accept_ = fmt::format("{}", fmt::join(types_, ", "));
  }

  [[nodiscard]] std::string_view name() const noexcept override { return Body::kKey; }
  [[nodiscard]] Step step() const noexcept override { return Body::kStep; }
  [[nodiscard]] const Mark& at() const noexcept override { return at_; }

  [[nodiscard]] Decision check(Context& context) const noexcept override {
    if (!has_body(context.head)) return Decision::next();
    MediaType type;
    const bool read = parse_media_type(context.head.fields.value(FieldId::kContentType), type);
    const bool listed = read && std::ranges::any_of(types_, [&](const std::string& allowed) {
                          return ascii::iequals(allowed, type.essence);
                        });
    if (!listed) return refuse(context, "the route does not take bodies of this type");
    if (is_json(type.essence) && !type.charset.empty() && !ascii::iequals(type.charset, "utf-8"))
      return refuse(context, "JSON is UTF-8 (RFC 8259)");
    return Decision::next();
  }

 private:
  [[nodiscard]] Decision refuse(Context& context, const char* what) const noexcept {
    // What the route would take (RFC 9110 §15.5.16 names Accept in a response for this).
    static_cast<void>(context.fields.add("Accept", accept_, FieldId::kAccept));
    return Decision::refuse(
        {.status = 415,
         .error = {.code = code::kContentType, .blame = Blame::kClient, .what = what},
         .step = "validation",
         .line = &at_});
  }

  const Mark at_;
  std::vector<std::string> types_;
  std::string accept_;
};

const config::Object<BodyConfig>& schema() {
  static const auto schema =
      config::Object<BodyConfig>("body", "What the body of a request must be.")
          .field("max", &BodyConfig::max,
                 config::waivable(config::bytes(0, 1024 * kMiB),
                                  config::bytes(0, 1024 * 1024 * kMiB), "body-size-unlimited"),
                 "Its largest size; 413 above it. Bodies stream: this costs no memory.")
          .field("content_types", &BodyConfig::content_types,
                 config::list_of(config::located(judged("a media type", "application/json",
                                                        problem_of_essence)),
                                 1, kTypesMax),
                 "Its types, 415 for others; any without it. A body without Content-Type is of "
                 "none of them.")
          .later("json_depth", "judging JSON")
          .later("schema", "judging by JSON Schema")
          .mark(&BodyConfig::at);
  return schema;
}

void judge_types(const BodyConfig& config, CompileInput& input) {
  std::set<std::string_view> seen;
  for (const auto& type : *config.content_types) {
    if (seen.insert(*type).second) continue;
    input.reader.error(type.at, fmt::format("the type {} is given twice", shown(*type)),
                       "remove one");
  }
  if (!config.content_types->empty() && *config.max == 0) {
    input.reader.error(config.content_types.at,
                       "`content_types` judges nothing: `max` lets no body through");
  }
}

}  // namespace

config::Type<BodyConfig> Body::type() { return config::object(schema()); }

void Body::compile(const Member& config, CompileInput& input, Judges& out) {
  judge_types(config, input);
  if (!config.content_types->empty()) out.push_back(std::make_unique<ContentTypes>(config));
}

}  // namespace merlon::policy
