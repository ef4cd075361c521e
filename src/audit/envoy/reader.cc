#include "audit/envoy/reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <deque>

#include "audit/envoy/exposure.h"
#include "audit/envoy/model.h"
#include "audit/envoy/names.h"
#include "audit/envoy/rules.h"
#include "audit/line_index.h"

namespace merlon::audit::envoy {
namespace {

constexpr std::array<std::string_view, 8> kConfigSources = {
    "lds_config", "cds_config", "config_source", "eds_config",
    "sds_config", "rds_config", "rtds_config",   "scoped_rds_config_source"};

/// A file that the configuration takes resources from.
struct Reference {
  Mark at;
  std::string path;
};

/// An answer of the admin interface's /config_dump.
bool is_dump(const Node& first) {
  return typed(Message(first)).type.starts_with("envoy.admin.") &&
         typed(Message(first)).type.ends_with("ConfigDump");
}

Level level_of(Misfit::Weight weight) {
  switch (weight) {
    case Misfit::Weight::kNewer:
      return Level::kInfo;
    case Misfit::Weight::kUnread:
      return Level::kLow;
    case Misfit::Weight::kRefused:
      return Level::kMedium;
  }
  return Level::kInfo;
}

/// The text of a block scalar that begins below line `above`, with the indentation that it has in
/// the file, so that columns are the file's; as it is where that changes what it says.
std::string as_indented(const Source& file, std::uint32_t above, std::string_view text) {
  const std::string_view whole = text;
  LineIndex lines;
  std::string out;
  std::string_view indent;
  for (std::uint32_t number = above + 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    const std::string_view there = lines.line(file, number);
    if (!line.empty() && indent.empty()) {
      indent = there.substr(0, there.size() - std::min(line.size(), there.size()));
    }
    const bool marks = line.starts_with("---") || line.starts_with("...") || line.starts_with('%');
    const bool same =
        line.empty() || (there.starts_with(indent) && there.substr(indent.size()) == line);
    const bool blank = indent.find_first_not_of(' ') == std::string_view::npos;
    if (marks || !same || !blank) return std::string(whole);
    if (!line.empty()) out.append(indent).append(line);
    out += '\n';
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

/// True when a key or a text below `root` is of Envoy's configuration.
bool speaks_of_envoy(const Node& root) {
  bool found = false;
  walk(root, [&](const Node& node) {
    found = found || (node.is_scalar() && looks_like_envoy(node.text()));
    for (const config::Member& member : node.members()) {
      found = found || looks_like_envoy(member.key.text());
    }
  });
  return found;
}

class Reading {
 public:
  Reading(const std::string& folder, FileReader& files, const Options& options, bool on_disk,
          AuditResult& out)
      : folder_(folder), files_(files), options_(options), on_disk_(on_disk), out_(out) {}

  Model model;
  std::size_t unknown_named = 0;
  bool from_server = false;  ///< some resources come from a management server

  void file(const std::shared_ptr<const Source>& source) {
    todo_.push_back(source);
    while (!todo_.empty()) {
      const std::shared_ptr<const Source> next = todo_.front();
      todo_.pop_front();
      if (seen_.insert(next->path).second) one(next);
    }
    for (const auto& [resource, kind] : late_) add_resource(model, resource, kind);
    link(model);
  }
  /// Ways of choosing routes that are not evaluated: what stands behind them was not judged.
  void say_what_was_not_followed();
  [[nodiscard]] const std::set<std::string>& seen() const noexcept { return seen_; }

 private:
  void one(const std::shared_ptr<const Source>& source);
  void document(const Node& root);
  void resource(const Message& at);
  void dump(const Typed& section);
  void check_names(const Typed& resource, ResourceKind kind);
  void embedded(const Message& config_map);
  void look(const Node& root);
  void look_at_source(std::string_view key, const Node& node, std::vector<Reference>& found);
  void reference(const Reference& to);
  void gap(const Mark& at, std::string what) {
    const std::string path = at.source == nullptr ? std::string{} : at.source->path;
    out_.gaps.push_back({at, path, std::move(what)});
  }
  void finding(std::string_view rule, Level level, const Mark& at, std::string message) {
    Finding& added = out_.findings.emplace_back();
    added.rule = rule;
    added.level = level;
    added.at = at;
    added.message = std::move(message);
  }
  /// Says of a place that is valid and not followed that it was not judged.
  void skipped(const Mark& at, std::string what) {
    finding("CFG-01", Level::kLow, at, what);
    gap(at, std::move(what));
  }
  std::shared_ptr<const config::Tree> parse(const std::shared_ptr<const Source>& source);

  const std::string& folder_;
  FileReader& files_;
  const Options& options_;
  bool on_disk_;
  AuditResult& out_;
  std::deque<std::shared_ptr<const Source>> todo_;
  std::set<std::string> seen_;
  std::vector<std::pair<Message, ResourceKind>> late_;
};

std::shared_ptr<const config::Tree> Reading::parse(const std::shared_ptr<const Source>& source) {
  config::ParseOptions how{.allow_aliases = true, .allow_tags = true, .allow_documents = true};
  how.depth_max = options_.depth_max;
  Diagnostics said;
  auto tree = config::Tree::parse(source, how, said);
  for (const Diagnostic& one : said.all()) {
    Mark at = one.at;
    if (!at.known()) at = Mark{source, 1, 1, 1};
    gap(at, one.message);  // a key given twice, an alias of nothing: what holds is not known
    finding("CFG-01", tree == nullptr ? Level::kHigh : Level::kMedium, at, one.message);
  }
  if (tree == nullptr && said.all().empty()) {
    gap({source, 1, 1, 1}, "it could not be parsed");
    finding("CFG-01", Level::kHigh, {source, 1, 1, 1}, "it could not be parsed");
  }
  return tree;
}

void Reading::one(const std::shared_ptr<const Source>& source) {
  ++out_.counts.files;
  out_.counts.lines += static_cast<std::uint64_t>(std::ranges::count(source->text, '\n'));
  if (!source->text.empty() && !source->text.ends_with('\n')) ++out_.counts.lines;
  out_.sources.push_back(source);
  const auto tree = parse(source);
  if (tree == nullptr) return;
  model.trees.push_back(tree);
  for (const Node& root : tree->documents()) document(root);
}

void Reading::document(const Node& root) {
  if (root.is_null()) return;
  const Message at(root);
  if (at.has("api_version") && at.has("kind")) {
    embedded(at);
    return;
  }
  look(root);
  if (const auto dumps = at.list("configs"); !dumps.empty() && is_dump(dumps.front())) {
    for (const Node& one : dumps) dump(typed(Message(one)));
  } else if (root.is_sequence()) {
    for (const Node& item : root.items()) resource(Message(item));
  } else if (at.has("resources") && !at.has("static_resources")) {
    for (const Node& item : at.list("resources")) resource(Message(item));
  } else {
    resource(at);
  }
}

/// A section of what the admin interface's /config_dump answers. Static resources stand in the
/// bootstrap already; of the dynamic ones, those in force are taken.
void Reading::dump(const Typed& section) {
  if (const Message bootstrap = section.config.message("bootstrap")) {
    const Typed any{bootstrap, "envoy.config.bootstrap.v3.Bootstrap"};
    check_names(any, ResourceKind::kBootstrap);
    add_resource(model, bootstrap, ResourceKind::kBootstrap);
    return;
  }
  if (section.is("EcdsConfigDump") || section.is("ScopedRoutesConfigDump")) {
    // Without an entry there is only the type.
    if (section.config.node()->members().size() > 1) {
      skipped(section.config.at(),
              fmt::format("{} is not read: what it holds is not judged", section.type));
    }
    return;
  }
  for (const char* list : {"dynamic_listeners", "dynamic_active_clusters", "dynamic_route_configs",
                           "dynamic_endpoint_configs", "dynamic_active_secrets"}) {
    for (const Node& one : section.config.list(list)) {
      const Message active = Message(one).message("active_state");
      const Message holder = active ? active : Message(one);
      for (const char* key : {"listener", "cluster", "route_config", "endpoint_config", "secret"}) {
        if (holder.has(key)) resource(holder.message(key));
      }
      if (const Message secret = holder.message("secret")) {
        model.served_secrets.push_back(typed(secret).config);
      }
    }
  }
}

void Reading::resource(const Message& at) {
  const Typed any = typed(at);
  if (any.is("Resource") && at.has("resource")) return resource(at.message("resource"));
  const ResourceKind kind = kind_of(any);
  if (kind == ResourceKind::kUnknown) {
    const std::string what = any.type.empty()
                                 ? "it is no resource of Envoy's that is known by its fields"
                                 : fmt::format("resources of type {} are not known", any.type);
    gap(at.at(), what);
    finding("CFG-01", any.type.empty() ? Level::kHigh : Level::kLow, at.at(), what);
    return;
  }
  check_names(any, kind);
  if (kind == ResourceKind::kEndpoints) {
    late_.emplace_back(any.config, kind);  // they belong to clusters, which may be read later
  } else {
    add_resource(model, any.config, kind);
  }
}

/// A misspelt name makes Envoy refuse the whole; one that is only not known here may be newer than
/// the table, and is said and counted.
void Reading::check_names(const Typed& resource, ResourceKind kind) {
  for (const Misfit& one : misfits(resource, kind)) {
    finding("CFG-01", level_of(one.weight), one.at, one.what);
    if (one.weight != Misfit::Weight::kNewer) gap(one.at, one.what);
    ++unknown_named;
  }
}

/// A Kubernetes ConfigMap that holds files: each is read as if it were one, with its lines where
/// they are in the outer file.
void Reading::embedded(const Message& config_map) {
  const Message data = config_map.message("data");
  bool any = false;
  if (data) {
    for (const config::Member& member : data.node()->members()) {
      const std::string_view text = member.value.text();
      if (!member.value.quoted() || !looks_like_envoy(text)) continue;
      const Mark at = member.value.at();
      auto inner = std::make_shared<Source>();
      inner->path = at.source->path;
      inner->text = std::string(at.line, '\n') + as_indented(*at.source, at.line, text);
      const auto tree = parse(inner);
      any = true;
      if (tree == nullptr) continue;
      model.trees.push_back(tree);
      for (const Node& root : tree->documents()) {
        if (root.is_mapping() && !Message(root).has("api_version")) document(root);
      }
    }
  }
  if (!any && (config_map.text("kind") == "EnvoyFilter" || speaks_of_envoy(*config_map.node()))) {
    gap(config_map.at(),
        fmt::format("a Kubernetes object of kind {} is not read", config_map.text("kind")));
  }
}

void Reading::say_what_was_not_followed() {
  for (const Hcm& hcm : model.hcms) {
    if (hcm.at.has("rds") && hcm.routes == nullptr) {
      skipped(hcm.at.at("rds"), "its routes come from a server (RDS): they are not judged");
    }
    if (!hcm.at.has("scoped_routes")) continue;
    skipped(hcm.at.at("scoped_routes"),
            "scoped routes are not followed: their routes are not judged");
  }
  for (const auto& tree : model.trees) {
    for (const Node& root : tree->documents()) {
      walk(root, [&](const Node& node) {
        const Node* config = untyped_config(node);
        if (config == nullptr || !Message(*config).is_true("deprecated_v1")) return;
        skipped(config->at(), "it is written for the v1 API (deprecated_v1): it is not judged");
      });
    }
  }
  for (const RouteConfig& config : model.route_configs) {
    if (!config.at.has("vhds")) continue;
    skipped(config.at.at("vhds"), "virtual hosts come from a server (VHDS): they are not judged");
  }
  for (const VirtualHost& host : model.hosts) {
    if (!host.by_matcher) continue;
    skipped(host.at.at("matcher"), "routes are chosen by a matcher tree: they are not judged");
  }
}

/// What a field that says where configuration comes from names: a file, which is added to `found`,
/// or a server.
void Reading::look_at_source(std::string_view key, const Node& node,
                             std::vector<Reference>& found) {
  const Message value(node);
  if (is_field(key, "ads_config")) {
    from_server = true;
  } else if (is_field(key, "path_config_source")) {
    found.push_back({value.at("path"), std::string(value.text("path"))});
  } else if (std::ranges::any_of(kConfigSources,
                                 [&](std::string_view s) { return is_field(key, s); })) {
    if (const Node* path = value.field("path"); path != nullptr && path->is_scalar()) {
      found.push_back({value.at("path"), std::string(path->text())});
    } else if (!value.has("path_config_source")) {
      from_server = true;
    }
  }
}

/// Counts keys and follows what names a file or a server.
void Reading::look(const Node& root) {
  std::vector<Reference> found;
  walk(root, [&](const Node& node) {
    out_.counts.directives += node.members().size();
    for (const config::Member& member : node.members()) {
      const std::string_view key = member.key.text();
      if (!member.value.is_mapping() || key.empty()) continue;
      // Of the fields that are looked for; most others are told apart by this alone.
      if (key.front() != 'p' && !key.ends_with('g') && !key.ends_with('e')) continue;
      look_at_source(key, member.value, found);
    }
  });
  for (const Reference& one : found) reference(one);
}

void Reading::reference(const Reference& to) {
  if (to.path.empty()) return;
  ++out_.counts.includes;
  if (!on_disk_) {
    finding("CFG-02", Level::kInfo, to.at, fmt::format("{} was not read", to.path));
    return gap(to.at, fmt::format("{} is not part of what was given", to.path));
  }
  if (out_.counts.includes > options_.includes_max) {
    return gap(to.at, fmt::format("more than {} files are named", options_.includes_max));
  }
  std::vector<std::string> tries;
  if (to.path.starts_with('/')) tries.push_back(to.path);
  // A path of the host that it will run on: its end is looked for below the folder at hand.
  for (std::size_t at = 0; at < to.path.size();) {
    const std::size_t start = to.path[at] == '/' ? at + 1 : at;
    tries.push_back(folder_ + "/" + to.path.substr(start));
    at = to.path.find('/', start);
    if (at == std::string::npos) break;
  }
  std::string refusal;
  for (const std::string& path : tries) {
    const FileReader::Read got = files_.read(path, path);
    if (got.source != nullptr) {
      todo_.push_back(got.source);
      return;
    }
    if (!got.missing && refusal.empty()) refusal = got.refusal;
  }
  const std::string why = refusal.empty() ? fmt::format("{} was not found", to.path) : refusal;
  finding("CFG-02", Level::kLow, to.at, why);
  gap(to.at, why);
}

}  // namespace

namespace {

/// A text inside of a Kubernetes object is no file: its lines cannot be patched.
void keep_fixes_of_files(AuditResult& out) {
  for (Finding& finding : out.findings) {
    std::erase_if(finding.fix, [&](const Edit& edit) {
      return std::ranges::find(out.sources, edit.file) == out.sources.end();
    });
  }
}

}  // namespace

bool looks_like_bootstrap(std::string_view text) {
  for (const char* word :
       {"static_resources", "dynamic_resources", "staticResources", "dynamicResources"}) {
    if (text.find(word) != std::string_view::npos) return true;
  }
  return false;
}

bool looks_like_envoy(std::string_view text) {
  if (looks_like_bootstrap(text)) return true;
  for (const char* word :
       {"type.googleapis.com/envoy", "load_assignment", "loadAssignment", "filter_chains",
        "filterChains", "virtual_hosts", "virtualHosts", "overload_manager", "layered_runtime",
        "envoy.filters.", "envoy.http_connection_manager"}) {
    if (text.find(word) != std::string_view::npos) return true;
  }
  return false;
}

void audit_file(const std::shared_ptr<const Source>& main, const std::string& folder,
                FileReader& files, const Options& options, bool on_disk,
                std::set<std::string>& reached, AuditResult& out) {
  const std::size_t first = out.findings.size();
  Reading reading(folder, files, options, on_disk, out);
  reading.file(main);
  const std::int64_t now = judged_at(options);
  Inspection inspection{reading.model, options, files, out, folder, now, on_disk};
  run_rules(inspection);
  map_exposure(inspection);
  keep_fixes_of_files(out);
  reading.say_what_was_not_followed();
  fill_remedies(out, first, Kind::kEnvoy);
  if (reading.from_server) {
    inspection.not_checked(
        "CFG-02",
        "some resources come from a management server: only those in these files were read");
  }
  for (const std::string_view name : reading.model.unknown) {
    const std::string shown(name);
    if (std::ranges::find(out.unknown_directives, shown) != out.unknown_directives.end()) continue;
    out.unknown_directives.push_back(shown);
    ++out.counts.unknown_directives;
  }
  out.counts.unknown_directives += reading.unknown_named;
  std::ranges::sort(out.unknown_directives);
  reached.insert(reading.seen().begin(), reading.seen().end());
}

}  // namespace merlon::audit::envoy
