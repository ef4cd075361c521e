#include "audit/nginx/variables.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "audit/nginx/condition.h"
#include "base/ascii.h"

namespace merlon::audit::nginx {
namespace {

constexpr std::uint32_t kDepthMax = 16;
constexpr std::size_t kUsesMax = 64;

bool is_name_char(char c) noexcept { return ascii::is_alnum(c) || c == '_'; }

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::ranges::find(names, name) != names.end();
}

/// "~*pattern" or "~pattern", the form of map keys and server names.
bool is_regex_key(std::string_view key) noexcept { return key.starts_with('~'); }

Pattern pattern_of_key(std::string_view key) {
  const bool ignore_case = key.starts_with("~*");
  return Pattern(key.substr(ignore_case ? 2 : 1), ignore_case);
}

/// The names of the groups of a regular expression: "(?<name>", "(?P<name>" and "(?'name'".
std::vector<std::string_view> group_names(std::string_view regex) {
  std::vector<std::string_view> out;
  for (std::size_t at = regex.find("(?"); at != std::string_view::npos;
       at = regex.find("(?", at + 2)) {
    std::string_view rest = regex.substr(at + 2);
    if (rest.starts_with('P')) rest.remove_prefix(1);
    if (!rest.starts_with('<') && !rest.starts_with('\'')) continue;
    const std::size_t end = rest.find(rest[0] == '<' ? '>' : '\'', 1);
    if (end == std::string_view::npos) continue;
    const std::string_view name = rest.substr(1, end - 1);
    if (std::ranges::all_of(name, is_name_char)) out.push_back(name);  // not a look behind
  }
  return out;
}

/// What a capture of `pattern` keeps of the taint of its subject.
Origin capture_of(const Pattern& pattern, std::size_t group, Origin subject) {
  if (!pattern.ok() || group > pattern.groups()) return subject;
  if (pattern.group_is_finite(group)) return {};
  const Pattern::Chars chars = pattern.group_chars(group);
  const bool rooted = (subject.taint & kRooted) != 0 && pattern.group_starts_text(group);
  subject.taint &= ~std::uint32_t{kRooted};
  if (rooted || pattern.group_starts_with(group, '/')) subject.taint |= kRooted;
  if (!chars['\n']) subject.taint &= ~std::uint32_t{kLineBreaks};
  if (!chars['.'] && !chars['/'] && !chars[':']) subject.taint |= kSlashFree;
  return subject;
}

/// Merges into nothing yet: the first value stands as it is.
Origin combine(const Origin& so_far, const Origin& next) {
  if (so_far.taint == kConstant && so_far.source.empty()) return next;
  Origin out = so_far;
  out.merge(next);
  return out;
}

/// The decoded path, of which the pattern of `by` at `at` captures a part as `name`.
Origin path_origin(std::string_view name, const Mark& at, std::string_view by) {
  Origin origin;
  origin.taint = kClient | kLineBreaks | kRooted;
  origin.source = fmt::format("${}", name);
  origin.trail.push_back(
      {at, fmt::format("${} is captured from the decoded path by {}", name, by)});
  return origin;
}

/// What `name` is when the pattern of a rewrite captures it; nullopt when it does not.
std::optional<Origin> captured_by_rewrite(std::string_view name, const Directive& rewrite) {
  const Pattern pattern(rewrite.arg(0), false);
  const std::size_t group = group_of(pattern, name);
  if (group == 0) return std::nullopt;
  return capture_of(pattern, group, path_origin(name, rewrite.mark(), "this rewrite"));
}

/// The same of a location.
std::optional<Origin> captured_by_location(std::string_view name, const Location& location) {
  if (!location.is_regex()) return std::nullopt;
  const std::size_t group = group_of(*location.pattern, name);
  if (group == 0) return std::nullopt;
  return capture_of(*location.pattern, group,
                    path_origin(name, location.at().mark(), "this location"));
}

/// The same of the first server_name that captures it.
std::optional<Origin> captured_by_server_name(std::string_view name, const Server& server) {
  for (const std::string_view server_name : server.names) {
    if (!is_regex_key(server_name)) continue;
    const Pattern pattern(server_name.substr(1), true);
    const std::size_t group = group_of(pattern, name);
    if (group == 0) continue;
    Origin host;
    host.taint = kClient | kHostOnly;
    host.source = fmt::format("${}", name);
    if (pattern.group_chars(group)['?']) host.taint |= kQuestionMark;
    return capture_of(pattern, group, std::move(host));
  }
  return std::nullopt;
}

}  // namespace

void Origin::merge(const Origin& other) {
  // A value that may be one of two is as free as the freer one.
  const bool both_narrow = (taint & other.taint & kSlashFree) != 0 ||
                           ((taint & kClient) == 0 && (other.taint & kSlashFree) != 0) ||
                           ((other.taint & kClient) == 0 && (taint & kSlashFree) != 0);
  const bool both_hosts = ((taint & kClient) == 0 || (taint & kHostOnly) != 0) &&
                          ((other.taint & kClient) == 0 || (other.taint & kHostOnly) != 0);
  const bool both_rooted = (taint & other.taint & kRooted) != 0;
  taint |= other.taint;
  if (!both_rooted) taint &= ~std::uint32_t{kRooted};
  if (!both_narrow) taint &= ~std::uint32_t{kSlashFree};
  if (!both_hosts) taint &= ~std::uint32_t{kHostOnly};
  if (source.empty() || (!other.source.empty() && other.line_breaks())) {
    if (!other.source.empty()) {
      source = other.source;
      trail = other.trail;
    }
  }
}

std::vector<VariableUse> variables_in(std::string_view text) {
  std::vector<VariableUse> out;
  for (std::size_t at = text.find('$'); at != std::string_view::npos && out.size() < kUsesMax;
       at = text.find('$', at + 1)) {
    std::size_t from = at + 1;
    const bool braced = from < text.size() && text[from] == '{';
    if (braced) ++from;
    std::size_t end = from;
    // "$1" is one digit long, whatever follows.
    if (end < text.size() && ascii::is_digit(text[end]) && !braced) {
      ++end;
    } else {
      while (end < text.size() && is_name_char(text[end])) ++end;
    }
    if (end == from) continue;
    const std::size_t close = braced && end < text.size() && text[end] == '}' ? end + 1 : end;
    out.push_back({text.substr(from, end - from), at, close - at});
  }
  return out;
}

bool is_written_by_client(std::string_view source) noexcept {
  return source.starts_with("$arg_") || source.starts_with("$cookie_") ||
         source.starts_with("$http_");
}

std::uint32_t builtin_taint(std::string_view name) {
  if (is_one_of(name, {"uri", "document_uri", "request_filename", "fastcgi_script_name",
                       "fastcgi_path_info"})) {
    return kClient | kLineBreaks | (name.ends_with("uri") ? std::uint32_t{kRooted} : 0U);
  }
  if (name == "request_uri") return kClient | kRooted;
  if (name == "host" || name == "ssl_server_name" || name == "ssl_preread_server_name") {
    return kClient | kHostOnly;
  }
  if (is_one_of(name, {"args", "query_string", "request", "request_body", "remote_user",
                       "content_type", "content_length"})) {
    return kClient;
  }
  for (const std::string_view prefix : {"arg_", "http_", "cookie_"}) {
    if (name.starts_with(prefix)) return kClient;
  }
  for (const std::string_view prefix :
       {"upstream_http_", "upstream_cookie_", "upstream_trailer_", "sent_http_"}) {
    if (name.starts_with(prefix)) return kUpstreamSays;
  }
  for (const std::string_view prefix :
       {"ssl_",      "upstream_",   "proxy_",     "server_", "remote_", "time_",
        "request_",  "connection",  "body_",      "bytes_",  "binary_", "tcpinfo_",
        "realip_",   "geoip",       "jwt_",       "date_",   "gzip_",   "document_",
        "realpath_", "secure_link", "memcached_", "session_"}) {
    if (name.starts_with(prefix)) return kConstant;
  }
  if (is_one_of(name, {"scheme",
                       "is_args",
                       "hostname",
                       "https",
                       "http2",
                       "http3",
                       "status",
                       "msec",
                       "pid",
                       "pipe",
                       "nginx_version",
                       "limit_rate",
                       "slice_range",
                       "uid_got",
                       "uid_set",
                       "limit_req_status",
                       "limit_conn_status",
                       "invalid_referer",
                       "protocol",
                       "modern_browser",
                       "ancient_browser",
                       "msie",
                       "spdy",
                       "early_data"})) {
    return kConstant;
  }
  return kUnseen;
}

Variables::Variables(const Model& model) : model_(model) {
  for (const Directive& directive : model.tree.directives) {
    const std::string_view name = directive.name.text;
    const auto variable = [&](std::size_t i) {
      const std::string_view text = directive.arg(i);
      return text.starts_with('$') ? text.substr(1) : std::string_view{};
    };
    if (directive.is_block && (name == "map" || name == "split_clients")) {
      maps_.emplace(variable(1), &directive);
      index_captures(directive);
    } else if (directive.is_block && name == "geo") {
      maps_.emplace(variable(directive.args.size() == 2 ? 1 : 0), &directive);
    } else if (name == "set" || name == "auth_request_set") {
      const auto scope = model.scope_of_block.find(directive.parent);
      if (scope != model.scope_of_block.end()) {
        const Server* server = model.server_of(*scope->second);
        sets_[{variable(0), server}].push_back({&directive, scope->second});
        bool& only = set_.try_emplace(variable(0), true).first->second;
        only = only && name == "set" && server != nullptr;
      }
    } else if (name.starts_with("set_") || name.ends_with("_set") || name == "keyval") {
      for (std::size_t i = 0; i < directive.args.size(); ++i) {
        if (!variable(i).empty()) unseen_.emplace(variable(i), &directive);
      }
    }
    index_groups(directive);
    if (name == "log_format") continue;  // to log a value is not to act on it
    const std::size_t first = name == "set" || name == "auth_request_set" ? 1 : 0;
    for (std::size_t i = first; i < directive.args.size(); ++i) {
      if (directive.arg(i).find('$') == std::string_view::npos) continue;
      for (const VariableUse& use : variables_in(directive.arg(i))) used_[use.name] = true;
    }
    if (directive.parent != nullptr && directive.parent->inside == kData) {
      for (const VariableUse& use : variables_in(name)) used_[use.name] = true;
    }
  }
}

void Variables::index_captures(const Directive& map) {
  for (const Directive* entry : map.body) {
    if (!is_regex_key(entry->name.text)) continue;
    for (const std::string_view group : group_names(entry->name.text)) {
      captures_.emplace(group, entry);
    }
  }
}

void Variables::index_groups(const Directive& directive) {
  for (const Word& word : directive.args) {
    for (const std::string_view group : group_names(word.text)) groups_.insert(group);
  }
}

bool Variables::comes_from_set(std::string_view name) const {
  const auto found = set_.find(name);
  return found != set_.end() && found->second && map_of(name) == nullptr &&
         !unseen_.contains(name) && !captures_.contains(name) && !groups_.contains(name) &&
         builtin_taint(name) == kUnseen;
}

const Directive* Variables::map_of(std::string_view name) const {
  const auto found = maps_.find(name);
  return found == maps_.end() ? nullptr : found->second;
}

Origin Variables::origin(std::string_view text, const Scope& scope, const Directive& user) const {
  steps_ = 0;
  return text_origin(text, Context{scope, user});
}

Origin Variables::origin_of_variable(std::string_view name, const Scope& scope,
                                     const Directive& user) const {
  steps_ = 0;
  return name_origin(name, Context{scope, user});
}

Origin Variables::text_origin(std::string_view text, const Context& context) const {
  Origin out;
  bool first = true;
  for (const VariableUse& use : variables_in(text)) {
    const Origin one = name_origin(use.name, context);
    if (first) {
      out = one;
    } else {
      out.merge(one);
    }
    first = false;
  }
  return out;
}

Origin Variables::name_origin(std::string_view name, const Context& context) const {
  Origin out;
  if (context.depth >= kDepthMax || ++steps_ > kStepsMax || ++all_steps_ > kAllStepsMax) {
    out.taint = kUnseen;
    return out;
  }
  const Context deeper{context.scope, context.user, context.depth + 1};
  if (const Directive* map = map_of(name)) {
    out = map_origin(*map, deeper);
    if (out.taint != kConstant) {
      out.trail.insert(out.trail.begin(),
                       {map->mark(), fmt::format("${} is defined by {}", name, map->name.text)});
    }
    return out;
  }
  if (sets_of(name, context.scope) != nullptr) return sets_origin(name, context);
  Origin captured = capture_origin(name, deeper);
  if (!captured.source.empty() || captured.taint != kUnseen) return captured;
  if (unseen_.contains(name)) {
    out.taint = kUnseen;
    return out;
  }
  out.taint = builtin_taint(name);
  if ((out.taint & kClient) != 0) out.source = fmt::format("${}", name);
  return out;
}

const std::vector<Variables::SetAt>* Variables::sets_of(std::string_view name,
                                                        const Scope& scope) const {
  const auto found = sets_.find({name, model_.server_of(scope)});
  return found == sets_.end() ? nullptr : &found->second;
}

std::vector<Variables::SetAt> Variables::sets_before(std::string_view name,
                                                     const Scope& scope) const {
  const std::vector<SetAt>* all = sets_of(name, scope);
  std::vector<SetAt> near;
  if (all == nullptr) return near;
  for (const SetAt& one : *all) {
    const bool in_if = (one.scope->context & (kIfInServer | kIfInLocation)) != 0;
    const Scope* base = in_if ? one.scope->parent : one.scope;
    if (base != nullptr && scope.is_below(*base)) near.push_back(one);
  }
  return near.empty() ? *all : near;
}

Origin Variables::sets_origin(std::string_view name, const Context& context) const {
  Origin out;
  bool first = true;
  for (const SetAt& one : sets_before(name, context.scope)) {
    // "set $a $a/x": the other definitions say what $a is.
    if (one.set == &context.user) continue;
    Origin origin = text_origin(one.set->arg(1), Context{*one.scope, *one.set, context.depth + 1});
    if (origin.taint != kConstant) {
      origin.trail.insert(
          origin.trail.begin(),
          {one.set->mark(), fmt::format("${} is set to \"{}\"", name, one.set->arg(1))});
    }
    if (first) {
      out = origin;
    } else {
      out.merge(origin);
    }
    first = false;
  }
  return out;
}

Origin Variables::map_origin(const Directive& map, const Context& context) const {
  Origin out;
  if (!map.is("map")) return out;
  const Origin subject = text_origin(map.arg(0), context);
  bool first = true;
  for (const Directive* entry : map.body) {
    const std::string_view key = entry->name.text;
    if (is_one_of(key, {"hostnames", "volatile", "include"})) continue;
    const std::string_view value = entry->arg(0);
    Origin one;
    const bool regex = is_regex_key(key);
    const bool is_default = key == "default" && !entry->name.quoted;
    for (const VariableUse& use : variables_in(value)) {
      const Pattern pattern = regex ? pattern_of_key(key) : Pattern{};
      const std::size_t group = regex ? group_of(pattern, use.name) : 0;
      if (group != 0) {
        one = combine(one, capture_of(pattern, group, subject));
        continue;
      }
      // A map of a constant has no source that could be echoed.
      const bool itself = map.arg(0).starts_with('$') && map.arg(0).substr(1) == use.name;
      if (itself && regex && pattern.anchored_at_start() && pattern.anchored_at_end()) {
        one = combine(one, capture_of(pattern, 0, subject));
        continue;
      }
      // The source echoed under an exact key is that key: a constant.
      if (itself && !regex && !is_default) continue;
      one = combine(one, name_origin(use.name, context));
    }
    if (first) {
      out = one;
    } else {
      out.merge(one);
    }
    first = false;
  }
  return out;
}

std::optional<Origin> Variables::captured_by_if(std::string_view name, const Scope& scope,
                                                std::uint32_t depth) const {
  if (scope.block == nullptr) return std::nullopt;
  const std::optional<Condition> condition = condition_of(*scope.block);
  if (!condition || condition->test != Condition::Test::kMatch) return std::nullopt;
  const Pattern pattern(condition->value, condition->ignore_case);
  const std::size_t group = group_of(pattern, name);
  if (group == 0) return std::nullopt;
  Origin subject = name_origin(condition->variable, {scope, *scope.block, depth});
  subject.trail.push_back(
      {scope.block->mark(), fmt::format("${} is captured from ${}", name, condition->variable)});
  return capture_of(pattern, group, std::move(subject));
}

std::optional<Origin> Variables::captured_by_map(std::string_view name,
                                                 const Context& context) const {
  std::optional<Origin> out;
  const auto [first, last] = captures_.equal_range(name);
  for (auto it = first; it != last; ++it) {
    const Directive& entry = *it->second;
    const Pattern pattern = pattern_of_key(entry.name.text);
    const std::size_t group = group_of(pattern, name);
    if (group == 0 || entry.parent == nullptr || !entry.parent->is("map")) continue;
    Origin subject = text_origin(entry.parent->arg(0), context);
    subject.trail.push_back({entry.mark(), fmt::format("${} is captured by this map", name)});
    Origin one = capture_of(pattern, group, std::move(subject));
    out = out ? combine(*out, one) : std::move(one);
  }
  return out;
}

Origin Variables::capture_origin(std::string_view name, const Context& context) const {
  if (context.user.is("rewrite")) {
    if (auto origin = captured_by_rewrite(name, context.user)) return *std::move(origin);
  }
  for (const Scope* level = &context.scope; level != nullptr; level = level->parent) {
    if (auto origin = captured_by_if(name, *level, context.depth)) return *std::move(origin);
    // A rewrite that ran before leaves its captures behind.
    for (const Directive* rewrite : level->own_all("rewrite")) {
      if (rewrite->name.line > context.user.name.line) continue;
      if (auto origin = captured_by_rewrite(name, *rewrite)) return *std::move(origin);
    }
    if (level->location != nullptr) {
      if (auto origin = captured_by_location(name, *level->location)) return *std::move(origin);
    }
    if (level->server == nullptr) continue;
    if (auto origin = captured_by_server_name(name, *level->server)) return *std::move(origin);
  }
  if (auto origin = captured_by_map(name, context)) return *std::move(origin);
  const bool numbered = name.size() == 1 && ascii::is_digit(name[0]) && name[0] != '0';
  if (numbered) return {};  // no expression captures it: nginx leaves it empty
  Origin unknown;
  unknown.taint = kUnseen;
  return unknown;
}

std::string Variables::expanded(std::string_view text, const Scope& scope) const {
  constexpr int kRoundsMax = 4;
  constexpr std::size_t kBytesMax = 4096;
  std::string out(text);
  for (int round = 0; round < kRoundsMax && out.size() < kBytesMax; ++round) {
    const std::string before = out;
    std::string next;
    std::size_t from = 0;
    for (const VariableUse& use : variables_in(before)) {
      const std::vector<SetAt>* sets = sets_of(use.name, scope);
      if (sets == nullptr || map_of(use.name) != nullptr) continue;
      const SetAt* only = nullptr;
      std::size_t near = 0;
      for (const SetAt& one : *sets) {
        const bool in_if = (one.scope->context & (kIfInServer | kIfInLocation)) != 0;
        const Scope* base = in_if ? one.scope->parent : one.scope;
        if (base == nullptr || !scope.is_below(*base)) continue;
        ++near;
        if (!in_if || scope.is_below(*one.scope)) only = &one;
      }
      const bool itself = only != nullptr && std::ranges::any_of(variables_in(only->set->arg(1)),
                                                                 [&](const VariableUse& inner) {
                                                                   return inner.name == use.name;
                                                                 });
      if (near != 1 || only == nullptr || itself) continue;
      next.append(before, from, use.at - from);
      next += only->set->arg(1);
      from = use.at + use.length;
    }
    next.append(before, from);
    if (next == before) break;
    out = std::move(next);
  }
  return out;
}

bool Variables::depends_on(std::string_view text, const std::function<bool(std::string_view)>& hit,
                           const Scope& scope) const {
  steps_ = 0;
  return depends(text, hit, scope, 0);
}

bool Variables::depends(std::string_view text, const std::function<bool(std::string_view)>& hit,
                        const Scope& scope, std::uint32_t depth) const {
  if (depth >= kDepthMax || ++steps_ > kStepsMax || ++all_steps_ > kAllStepsMax) return false;
  for (const VariableUse& use : variables_in(text)) {
    if (hit(use.name)) return true;
    if (const Directive* map = map_of(use.name)) {
      if (map->args.size() == 2 && depends(map->arg(0), hit, scope, depth + 1)) return true;
      for (const Directive* entry : map->body) {
        if (depends(entry->arg(0), hit, scope, depth + 1)) return true;
      }
    }
    const std::vector<SetAt>* sets = sets_of(use.name, scope);
    if (sets == nullptr) continue;
    for (const SetAt& one : *sets) {
      const std::vector<VariableUse> inner = variables_in(one.set->arg(1));
      const bool of_itself = std::ranges::any_of(
          inner, [&](const VariableUse& other) { return other.name == use.name; });
      if (of_itself) continue;
      if (depends(one.set->arg(1), hit, scope, depth + 1)) return true;
    }
  }
  return false;
}

}  // namespace merlon::audit::nginx
