#include "audit/envoy/names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "audit/envoy/fields.h"
#include "audit/envoy/scalar.h"
#include "base/ascii.h"

namespace merlon::audit::envoy {
namespace {

constexpr std::size_t kReportedMax = 200;
/// Further away than this, a name is rather one of a newer Envoy than a misspelt one.
constexpr std::size_t kTypoMax = 2;

std::string_view type_of(ResourceKind kind) {
  switch (kind) {
    case ResourceKind::kBootstrap:
      return "envoy.config.bootstrap.v3.Bootstrap";
    case ResourceKind::kListener:
      return "envoy.config.listener.v3.Listener";
    case ResourceKind::kCluster:
      return "envoy.config.cluster.v3.Cluster";
    case ResourceKind::kRouteConfig:
      return "envoy.config.route.v3.RouteConfiguration";
    case ResourceKind::kVirtualHost:
      return "envoy.config.route.v3.VirtualHost";
    case ResourceKind::kEndpoints:
      return "envoy.config.endpoint.v3.ClusterLoadAssignment";
    case ResourceKind::kSecret:
      return "envoy.extensions.transport_sockets.tls.v3.Secret";
    case ResourceKind::kRuntime:
      return "envoy.service.runtime.v3.Runtime";
    case ResourceKind::kUnknown:
      break;
  }
  return {};
}

/// Gone since v2, and reported as such (CFG-04).
bool is_removed(std::string_view field) {
  constexpr std::array<std::string_view, 5> kRemoved = {
      "config", "hosts", "tls_context", "stream_error_on_invalid_http_messaging", "regex"};
  return std::ranges::any_of(kRemoved, [&](std::string_view s) { return is_field(field, s); });
}

std::string_view short_name(std::string_view type) {
  const std::size_t dot = type.rfind('.');
  return dot == std::string_view::npos ? type : type.substr(dot + 1);
}

std::string_view without_host(std::string_view url) {
  const std::size_t slash = url.rfind('/');
  return slash == std::string_view::npos ? url : url.substr(slash + 1);
}

class Checker {
 public:
  /// `old`: names that are not known may be those of the v2 API; slips of v3's are told all the
  /// same.
  Checker(std::vector<Misfit>& out, bool old) : out_(out), old_(old) {}

  void message(const Node& node, std::uint32_t number, int depth);
  void any(const Node& node, int depth);

 private:
  static constexpr int kDepthMax = 64;

  void value(const Node& node, const FieldInfo& field, int depth);
  void items(const Node& node, const FieldInfo& field, int depth);
  void untyped(const Node& holder, const Node& config, int depth);
  const char* expectation(const Node& node, const FieldInfo& field);
  void enum_value(const Node& node, const MessageInfo& info);
  void add(const Mark& at, std::string what, Misfit::Weight weight) {
    if (out_.size() < kReportedMax) out_.push_back({at, std::move(what), weight});
  }
  void refuse(const Node& node, const FieldInfo& field, const char* expected) {
    add(node.at(), fmt::format("{} is {}", field.name, expected), Misfit::Weight::kRefused);
  }
  /// A name that is not known, with the one that was probably meant.
  void unknown(const Mark& at, std::string what, std::string_view meant) {
    if (meant.empty() && old_) return;
    if (meant.empty()) return add(at, std::move(what), Misfit::Weight::kNewer);
    add(at, what + fmt::format(": did you mean {}?", meant), Misfit::Weight::kRefused);
  }

  FieldTable table_;
  std::vector<Misfit>& out_;
  bool old_;
};

void Checker::message(const Node& node, std::uint32_t number, int depth) {
  if (depth > kDepthMax) return;
  const MessageInfo& info = table_.at(number);
  if (info.is_enum) return enum_value(node, info);
  for (const config::Member& member : node.members()) {
    const std::string_view key = member.key.text();
    if (key == "@type" || member.key.ignored()) continue;
    if (const FieldInfo* field = info.field(key)) {
      value(member.value, *field, depth + 1);
      continue;
    }
    if (untyped_config(node) == &member.value) untyped(node, member.value, depth + 1);
    if (is_removed(key)) continue;
    std::vector<std::string_view> names;
    names.reserve(info.fields.size());
    for (const FieldInfo& field : info.fields) names.push_back(field.name);
    unknown(member.key.at(),
            fmt::format("{} has no field {} that is known here", short_name(info.name), key),
            nearest(key, names, kTypoMax));
  }
}

void Checker::enum_value(const Node& node, const MessageInfo& info) {
  const auto number = as_integer(node);
  if (!number && !is_text(node)) {
    return add(node.at(), fmt::format("{} is a name: it needs quotes", short_name(info.name)),
               Misfit::Weight::kRefused);
  }
  const std::string_view text = node.text();
  const bool known = std::ranges::any_of(info.values, [&](const EnumValue& value) {
    return number ? value.number == *number : EnumWord{text} == value.name;
  });
  if (known) return;
  std::string what =
      fmt::format("{} has no value {} that is known here", short_name(info.name), text);
  if (number) return add(node.at(), std::move(what), Misfit::Weight::kUnread);
  std::vector<std::string_view> names;
  names.reserve(info.values.size());
  for (const EnumValue& value : info.values) names.push_back(value.name);
  unknown(node.at(), std::move(what), nearest(text, names, kTypoMax));
}

void Checker::value(const Node& node, const FieldInfo& field, int depth) {
  if (node.is_null()) return;
  if (field.is_map) {
    if (!node.is_mapping()) refuse(node, field, "a mapping");
    for (const config::Member& member : node.members()) items(member.value, field, depth);
  } else if (node.is_sequence()) {
    for (const Node& item : node.items()) value(item, field, depth);
  } else {
    items(node, field, depth);
  }
}

void Checker::items(const Node& node, const FieldInfo& field, int depth) {
  if (node.is_null()) return;
  if (const char* expected = expectation(node, field); expected != nullptr) {
    return refuse(node, field, expected);
  }
  if (field.holds == FieldInfo::Holds::kAny) return any(node, depth);
  if (field.holds == FieldInfo::Holds::kMessage) return message(node, field.message, depth);
}

/// What a field holds, when the node is none of it.
const char* Checker::expectation(const Node& node, const FieldInfo& field) {
  using enum FieldInfo::Holds;
  switch (field.holds) {
    case kText:
      return is_text(node) ? nullptr : "text, which numbers and booleans are in quotes only";
    case kFlag:
      return as_flag(node) ? nullptr : "true or false";
    case kInteger:
      return as_integer(node) ? nullptr : "a whole number";
    case kUnsigned:
      return as_unsigned(node) ? nullptr : "a whole number that is not negative";
    case kFloat:
      return is_float(node) ? nullptr : "a number";
    case kDuration:
      return is_duration(node) ? nullptr : "a duration in seconds, such as 0.5s";
    case kMessage:
      return node.is_mapping() || table_.at(field.message).is_enum ? nullptr : "a message";
    case kAny:
      return node.is_mapping() ? nullptr : "a message";
    case kFree:
      break;
  }
  return nullptr;
}

void Checker::any(const Node& node, int depth) {
  const Node* said = node.find("@type");
  if (said == nullptr) {
    if (node.members().empty()) return;
    return add(node.at(), "it has no @type: Envoy cannot tell what it configures",
               Misfit::Weight::kRefused);
  }
  const std::string_view type = without_host(said->text());
  if (type.ends_with(".TypedStruct")) {
    const Message holder(node);
    const auto number = table_.number_of(without_host(holder.text("type_url")));
    if (number && holder.has("value")) message(*holder.field("value"), *number, depth);
    return;
  }
  if (const auto number = table_.number_of(type)) return message(node, *number, depth);
  // Other vendors' types are theirs to check; v2 has a rule of its own.
  if (out_.size() >= kReportedMax) return;  // looking for the nearest name takes a while
  const bool ours = type.starts_with("envoy.") || type.starts_with("env");
  if (!ours || type.find(".v2") != std::string_view::npos) return;
  unknown(said->at(),
          fmt::format("{} is no type that is known here: what it sets was not judged", type),
          FieldTable::nearest_type(type));
}

/// The `config` of an old filter is of the message that the filter's name stands for. What is
/// written for v1 has other names.
void Checker::untyped(const Node& holder, const Node& config, int depth) {
  if (Message(config).has("deprecated_v1")) return;
  const std::string_view kind = filter_kind({}, Message(holder).text("name"));
  if (const auto number = FieldTable::message_named(kind)) message(config, *number, depth);
}

bool is_v2_type(std::string_view type) {
  return type.find("envoy.api.v2") != std::string_view::npos ||
         type.find("envoy.config.filter.") != std::string_view::npos;
}

/// Written for the API that Envoy 1.18 dropped: other names are right there.
bool speaks_v2(const Node& root) {
  bool old = false;
  std::vector<const Node*> todo{&root};
  while (!todo.empty() && !old) {
    const Node* node = todo.back();
    todo.pop_back();
    for (const Node& item : node->items()) todo.push_back(&item);
    for (const config::Member& member : node->members()) {
      const std::string_view key = member.key.text();
      old = old || (key == "@type" && is_v2_type(member.value.text())) ||
            untyped_config(*node) == &member.value;
      todo.push_back(&member.value);
    }
  }
  return old;
}

}  // namespace

std::vector<Misfit> misfits(const Typed& resource, ResourceKind kind) {
  std::vector<Misfit> out;
  if (!resource.config) return out;
  Checker checker(out, speaks_v2(*resource.config.node()));
  const FieldTable table;
  const std::string_view type = resource.type.empty() ? type_of(kind) : resource.type;
  if (const auto number = table.number_of(type)) {
    checker.message(*resource.config.node(), *number, 0);
  }
  return out;
}

}  // namespace merlon::audit::envoy
