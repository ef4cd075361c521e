#include "audit/envoy/names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "audit/envoy/fields.h"
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
  explicit Checker(std::vector<UnknownName>& out) : out_(out) {}

  void message(const Node& node, std::uint32_t number, int depth);
  void any(const Node& node, int depth);

 private:
  static constexpr int kDepthMax = 64;

  void value(const Node& node, const FieldInfo& field, int depth);
  void items(const Node& node, const FieldInfo& field, int depth);
  void add(const Mark& at, std::string what, std::string_view meant) {
    if (out_.size() >= kReportedMax) return;
    if (!meant.empty()) what += fmt::format(": did you mean {}?", meant);
    out_.push_back({at, std::move(what), !meant.empty()});
  }

  FieldTable table_;
  std::vector<UnknownName>& out_;
};

void Checker::message(const Node& node, std::uint32_t number, int depth) {
  if (depth > kDepthMax) return;
  const MessageInfo& info = table_.at(number);
  if (info.is_enum) {
    const std::string_view text = node.text();
    const bool is_number = !text.empty() && std::ranges::all_of(text, ascii::is_digit);
    const bool known = std::ranges::any_of(
        info.values, [&](std::string_view value) { return EnumWord{text} == value; });
    if (!node.is_scalar() || is_number || known) return;
    add(node.at(),
        fmt::format("{} has no value {} that is known here", short_name(info.name), text),
        nearest(text, info.values, kTypoMax));
    return;
  }
  for (const config::Member& member : node.members()) {
    const std::string_view key = member.key.text();
    if (key == "@type" || member.key.ignored() || is_removed(key)) continue;
    if (const FieldInfo* field = info.field(key)) {
      value(member.value, *field, depth + 1);
      continue;
    }
    std::vector<std::string_view> names;
    names.reserve(info.fields.size());
    for (const FieldInfo& field : info.fields) names.push_back(field.name);
    add(member.key.at(),
        fmt::format("{} has no field {} that is known here", short_name(info.name), key),
        nearest(key, names, kTypoMax));
  }
}

void Checker::value(const Node& node, const FieldInfo& field, int depth) {
  if (field.is_map) {
    for (const config::Member& member : node.members()) items(member.value, field, depth);
  } else if (node.is_sequence()) {
    for (const Node& item : node.items()) items(item, field, depth);
  } else {
    items(node, field, depth);
  }
}

void Checker::items(const Node& node, const FieldInfo& field, int depth) {
  if (field.holds == FieldInfo::Holds::kAny) return any(node, depth);
  if (field.holds == FieldInfo::Holds::kMessage) return message(node, field.message, depth);
}

void Checker::any(const Node& node, int depth) {
  const Node* said = node.find("@type");
  if (said == nullptr) return;
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
  add(said->at(),
      fmt::format("{} is no type that is known here: what it sets was not judged", type),
      FieldTable::nearest_type(type));
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
            (key == "config" && member.value.is_mapping() && node->find("name") != nullptr);
      todo.push_back(&member.value);
    }
  }
  return old;
}

}  // namespace

std::vector<UnknownName> unknown_names(const Typed& resource, ResourceKind kind) {
  std::vector<UnknownName> out;
  if (!resource.config || speaks_v2(*resource.config.node())) return out;
  Checker checker(out);
  const FieldTable table;
  const std::string_view type = resource.type.empty() ? type_of(kind) : resource.type;
  if (const auto number = table.number_of(type)) {
    checker.message(*resource.config.node(), *number, 0);
  }
  return out;
}

}  // namespace merlon::audit::envoy
