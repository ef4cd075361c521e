#include "policy/body.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <set>

#include "base/ascii.h"
#include "base/units.h"
#include "config/shown.h"
#include "policy/content.h"
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

constexpr std::uint32_t kSchemaDepthDefault = 32;
constexpr std::uint32_t kSchemaDepthMax = 128;  // a schema is followed down on the stack
// What is judged is held in memory, and what a schema judges becomes a tree.
constexpr std::uint64_t kHeldBytesMax = 64 * kMiB;
constexpr std::uint64_t kSchemaBodyBytesMax = 4 * kMiB;

bool brings_body(http::Method method) noexcept {
  return method == http::Method::kPost || method == http::Method::kPut ||
         method == http::Method::kPatch;
}

/// Refuses bodies of a type that the route does not list (415, RFC 9110 §15.5.16) and, where JSON
/// is judged, what would keep it from being read.
class BodyJudge final : public Policy {
 public:
  BodyJudge(const BodyConfig& config, std::unique_ptr<const ContentRules> content)
      : at_(config.at),
        types_at_(config.content_types.is_default() ? config.at : config.content_types.at),
        schema_at_(config.schema.has_value() ? config.schema->at : Mark{}),
        content_(std::move(content)) {
    for (const auto& type : *config.content_types) types_.push_back(*type);
    if (types_.empty()) types_.emplace_back("application/json");
    accept_ = fmt::format("{}", fmt::join(types_, ", "));
  }

  [[nodiscard]] std::string_view name() const noexcept override { return Body::kKey; }
  [[nodiscard]] Step step() const noexcept override { return Body::kStep; }
  [[nodiscard]] const Mark& at() const noexcept override { return at_; }
  [[nodiscard]] const ContentRules* content() const noexcept override { return content_.get(); }

  [[nodiscard]] Decision check(Context& context) const noexcept override {
    if (!has_body(context.head)) {
      if (!schema_at_.known() || !brings_body(context.head.method)) return Decision::next();
      return Decision::refuse({.status = 422,
                               .error = {.code = code::kSchemaMismatch,
                                         .blame = Blame::kClient,
                                         .what = "there is no body, and the schema wants one"},
                               .step = kStepName,
                               .line = &schema_at_});
    }
    const http::Fields& fields = context.head.fields;
    MediaType type;
    const bool read = parse_media_type(fields.value(FieldId::kContentType), type);
    const bool listed = read && std::ranges::any_of(types_, [&](const std::string& allowed) {
                          return ascii::iequals(allowed, type.essence);
                        });
    if (!listed) {
      // What the route would take (RFC 9110 §15.5.16 names Accept in a response for this).
      static_cast<void>(context.fields.add("Accept", accept_, FieldId::kAccept));
      return refuse(code::kContentType, "the route does not take bodies of this type");
    }
    if (is_json(type.essence) && !type.charset.empty() && !ascii::iequals(type.charset, "utf-8"))
      return refuse(code::kContentType, "JSON is UTF-8 (RFC 8259)");
    if (content_ != nullptr && fields.contains(FieldId::kContentEncoding)) {
      static_cast<void>(
          context.fields.add("Accept-Encoding", "identity", FieldId::kAcceptEncoding));
      return refuse(code::kContentEncoding, "a body that is validated must not be compressed");
    }
    return Decision::next();
  }

 private:
  static constexpr std::string_view kStepName = "validation";

  [[nodiscard]] Decision refuse(std::uint16_t code, const char* what) const noexcept {
    return Decision::refuse({.status = 415,
                             .error = {.code = code, .blame = Blame::kClient, .what = what},
                             .step = kStepName,
                             .line = &types_at_});
  }

  const Mark at_;
  const Mark types_at_;
  const Mark schema_at_;
  const std::unique_ptr<const ContentRules> content_;
  std::vector<std::string> types_;
  std::string accept_;
};

const config::Object<BodyConfig>& schema() {
  static const auto schema =
      config::Object<BodyConfig>("body", "Requirements on request bodies.")
          .field(
              "max", &BodyConfig::max,
              config::waivable(config::bytes(0, kBodyBytesMax),
                               config::bytes(0, 1024 * 1024 * kMiB), "body-size-unlimited"),
              "Maximum size; 413 above it. Bodies are streamed and need no memory, unless their "
              "content is validated. On the route of a gRPC service it is the size of one message.")
          .field("content_types", &BodyConfig::content_types,
                 config::list_of(config::located(judged("a media type", "application/json",
                                                        problem_of_essence)),
                                 1, kTypesMax),
                 "Accepted media types; 415 for others. Without it any type is accepted. A body "
                 "without Content-Type matches none of them.")
          .field("json_depth", &BodyConfig::json_depth, config::integer(1, JsonChecker::kDepthMax),
                 "The body must be well-formed JSON, nested at most this deep (`[]` is 1); 422 "
                 "otherwise. It is buffered in memory for validation: `max` is at most 64MiB, and "
                 "`content_types` is `application/json` unless it lists others that end in "
                 "`+json`. Compressed bodies get 415.")
          .field("schema", &BodyConfig::schema, config::file(),
                 "A JSON Schema (draft 7) that the body must match; 422 otherwise, with a JSON "
                 "pointer for authenticated callers. A schema with unknown keywords is an error. "
                 "`max` is at most 4MiB, and `json_depth` at most 128, by default 32.")
          .mark(&BodyConfig::at);
  return schema;
}

void judge_types(const BodyConfig& config, CompileInput& input) {
  const bool judges_json = config.json_depth.has_value() || config.schema.has_value();
  std::set<std::string_view> seen;
  for (const auto& type : *config.content_types) {
    if (!seen.insert(*type).second) {
      input.reader.error(type.at, fmt::format("the type {} is given twice", shown(*type)),
                         "remove one");
    }
    if (judges_json && !is_json(*type)) {
      input.reader.error(type.at,
                         fmt::format("{} is not JSON, and this route validates JSON", shown(*type)),
                         "give such bodies a route of their own");
    }
  }
}

void judge_size(const BodyConfig& config, CompileInput& input) {
  const bool judges_json = config.json_depth.has_value() || config.schema.has_value();
  const bool judges = judges_json || !config.content_types->empty();
  if (judges && *config.max == 0) {
    input.reader.error(config.max.at, "`max` allows no body, so there is nothing to validate");
  }
  const std::uint64_t most = config.schema.has_value() ? kSchemaBodyBytesMax : kHeldBytesMax;
  if (judges_json && *config.max > most) {
    input.reader.error(
        config.max.at,
        fmt::format("bodies that are validated are buffered in memory: the maximum here is {}",
                    format_bytes(most)));
  }
  if (config.schema.has_value() && config.json_depth.has_value() &&
      **config.json_depth > kSchemaDepthMax) {
    input.reader.error(config.json_depth->at,
                       fmt::format("with a schema the maximum is {}", kSchemaDepthMax));
  }
}

std::shared_ptr<const JsonSchema> read_schema(const BodyConfig& config, CompileInput& input) {
  if (!config.schema.has_value()) return nullptr;
  const auto refuse = [&](std::string_view why) {
    input.reader.error(config.schema->at, fmt::format("the schema {} cannot be used: {}",
                                                      shown((*config.schema)->written), why));
    return nullptr;
  };
  const auto text = input.broker.read_file((*config.schema)->path, JsonSchema::kTextBytesMax);
  if (!text.has_value()) return refuse(text.error().text());
  auto schema = JsonSchema::read(*text);
  if (!schema.has_value()) return refuse(schema.error());
  return *schema;
}

}  // namespace

config::Type<BodyConfig> Body::type() { return config::object(schema()); }

void Body::compile(const Member& config, CompileInput& input, Judges& out) {
  judge_types(config, input);
  judge_size(config, input);
  std::unique_ptr<const ContentRules> content;
  if (config.json_depth.has_value() || config.schema.has_value()) {
    const bool given = config.json_depth.has_value();
    content = std::make_unique<ContentRules>(
        given ? **config.json_depth : kSchemaDepthDefault, given ? config.json_depth->at : Mark{},
        read_schema(config, input), config.schema.has_value() ? config.schema->at : Mark{});
  }
  if (content == nullptr && config.content_types->empty()) return;
  out.push_back(std::make_unique<BodyJudge>(config, std::move(content)));
}

}  // namespace merlon::policy
