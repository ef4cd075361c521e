#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "audit/nginx/header_view.h"
#include "audit/nginx/origin_witness.h"
#include "audit/nginx/rules.h"
#include "base/ascii.h"

namespace merlon::audit::nginx {
namespace {

constexpr std::string_view kAllowOrigin = "Access-Control-Allow-Origin";

/// One way in which an Origin gets into the answer: the words it is compared with, and where.
struct Gate {
  const Directive* at = nullptr;  ///< the map entry or the if
  std::string_view pattern;       ///< a regular expression, or the exact origin
  bool regex = false;
  bool ignore_case = false;
};

/// All that lets an Origin through; `open` when nothing at all stands in its way.
struct Gates {
  std::vector<Gate> list;
  const Directive* open = nullptr;
  bool unknown = false;  ///< something that is not understood decides
};

bool is_true(const Directive* header) {
  return header != nullptr &&
         ascii::iequals(header_value(*header, "Access-Control-Allow-Credentials"), "true");
}

void gates_of_map(const Inspection& in, const Directive& map, Gates& out, int depth) {
  if (!map.is("map") || depth > 4) {
    out.unknown = true;
    return;
  }
  const bool by_origin = in.variables.depends_on(
      map.arg(0), [](std::string_view v) { return v == "http_origin"; }, *in.model.root);
  for (const Directive* entry : map.body) {
    const std::string_view key = entry->name.text;
    const std::string_view value = entry->arg(0);
    if (key == "include" || key == "hostnames" || key == "volatile") {
      out.unknown = out.unknown || key == "include";
      continue;
    }
    const std::vector<VariableUse> uses = variables_in(value);
    const bool reflects = std::ranges::any_of(uses, [&](const VariableUse& use) {
      return use.name == "http_origin" || in.variables.map_of(use.name) != nullptr;
    });
    const bool captured = std::ranges::any_of(
        uses, [](const VariableUse& use) { return ascii::is_digit(use.name[0]); });
    if (value.empty() || !by_origin) continue;
    if (key == "default" && !entry->name.quoted) {
      if (value == "*" || reflects) out.open = entry;
      continue;
    }
    if (key.starts_with('~')) {
      const bool ignore_case = key.starts_with("~*");
      if (!reflects && !captured && value == "0") continue;
      out.list.push_back({entry, key.substr(ignore_case ? 2 : 1), true, ignore_case});
    } else {
      out.list.push_back({entry, key, false, false});
    }
  }
}

/// Reads `if ($variable op pattern)` into a gate; false when it compares something else.
bool gate_of_if(const Directive& block, Gate& gate, std::string_view& variable, bool& negative) {
  variable = if_variable(block);
  if (variable.empty()) return false;
  variable.remove_prefix(1);
  std::vector<std::string_view> words;
  words.reserve(block.args.size());
  for (const Word& word : block.args) words.push_back(word.text);
  std::string_view last = words.back();
  if (last == ")") {
    words.pop_back();
    last = words.back();
  } else if (last.ends_with(')') && !block.args.back().quoted) {
    last.remove_suffix(1);
  }
  gate.at = &block;
  gate.pattern = last;
  for (const std::string_view word : words) {
    negative = negative || word == "!=";
    if (word == "~" || word == "!~") gate.regex = true;
    if (word == "~*" || word == "!~*") gate.regex = gate.ignore_case = true;
    negative = negative || word.starts_with('!');
  }
  return true;
}

void gates_of_variable(const Inspection& in, std::string_view name, const Scope& scope, Gates& out,
                       int depth);

/// True when the condition behind `gate` holds for a variable with this value.
bool holds_for(const Gate& gate, bool negative, std::string_view value) {
  const bool compares = gate.at->args.size() > 1 && gate.at->arg(1) != ")";
  if (!compares) return !value.empty() && value != "0";
  const bool same = gate.regex
                        ? Pattern(gate.pattern, gate.ignore_case).search(value).value_or(false)
                        : value == gate.pattern;
  return same != negative;
}

/// True when a map gives an origin that it does not list a value that is refused.
bool refuses_others(const Inspection& in, const Directive& map, const Gate& gate, bool negative) {
  const bool by_origin = in.variables.depends_on(
      map.arg(0), [](std::string_view v) { return v == "http_origin"; }, *in.model.root);
  if (!map.is("map") || !by_origin) return false;
  std::string_view fallback;
  for (const Directive* entry : map.body) {
    if (entry->name.text == "default" && !entry->name.quoted) fallback = entry->arg(0);
  }
  return fallback.find('$') == std::string_view::npos && holds_for(gate, negative, fallback);
}

/// The same of a variable that `set` gives a value that is refused, and ifs on the Origin another:
/// they become gates.
bool refuses_others(const Inspection& in, std::string_view variable, const Scope& level,
                    const Gate& gate, bool negative, Gates& out) {
  const auto* sets = in.variables.sets_of(variable, level);
  if (sets == nullptr) return false;
  std::vector<Gate> gates;
  bool has_default = false;
  for (const auto& [set, scope] : *sets) {
    const bool inside = (scope->context & (kIfInServer | kIfInLocation)) != 0;
    has_default = has_default || !inside;
    if (set->arg(1).find('$') == std::string_view::npos && holds_for(gate, negative, set->arg(1))) {
      continue;
    }
    Gate own;
    std::string_view tested;
    bool other = false;
    if (!inside || !gate_of_if(*scope->block, own, tested, other)) return false;
    if (tested != "http_origin" || other) return false;
    gates.push_back(own);
  }
  if (!has_default && !holds_for(gate, negative, "")) return false;
  out.list.insert(out.list.end(), gates.begin(), gates.end());
  return true;
}

/// if ($http_origin !~ pattern) { return 403; }, or the same of a map of origins: whoever gets past
/// it matches the pattern.
bool turned_away(const Inspection& in, const Scope& level, Gates& out, int depth) {
  bool found = false;
  for (const Scope* child : level.children) {
    if ((child->context & (kIfInServer | kIfInLocation)) == 0 || !child->has("return")) continue;
    Gate gate;
    std::string_view variable;
    bool negative = false;
    if (!gate_of_if(*child->block, gate, variable, negative)) continue;
    if (return_status(*child) < 400) continue;
    const Directive* map = in.variables.map_of(variable);
    if (map != nullptr && refuses_others(in, *map, gate, negative)) {
      gates_of_map(in, *map, out, depth + 1);
      found = true;
    }
    if (map == nullptr && variable != "http_origin") {
      found = refuses_others(in, variable, level, gate, negative, out) || found;
    }
    if (variable != "http_origin" || !negative) continue;
    out.list.push_back(gate);
    found = true;
  }
  return found;
}

/// The ifs around `scope`, or around the definitions of what they test.
bool gates_around(const Inspection& in, const Scope& scope, Gates& out, int depth) {
  bool found = false;
  for (const Scope* level = &scope; level != nullptr; level = level->parent) {
    found = turned_away(in, *level, out, depth) || found;
    if ((level->context & (kIfInServer | kIfInLocation)) == 0) continue;
    Gate gate;
    std::string_view variable;
    bool negative = false;
    if (!gate_of_if(*level->block, gate, variable, negative)) continue;
    if (variable == "http_origin") {
      found = true;
      if (negative) {
        out.unknown = true;
      } else if (gate.regex || !gate.pattern.starts_with("$")) {
        out.list.push_back(gate);
      }
      continue;
    }
    const bool about_origin = in.variables.depends_on(
        level->block->arg(0), [](std::string_view v) { return v == "http_origin"; }, scope);
    if (about_origin && in.variables.map_of(variable) != nullptr) {
      found = true;
      gates_of_map(in, *in.variables.map_of(variable), out, depth + 1);
      continue;
    }
    // if ($cors = "true"): what sets $cors inside an if on the origin is the gate.
    const std::size_t before = out.list.size();
    gates_of_variable(in, variable, scope, out, depth + 1);
    found = found || out.list.size() > before;
  }
  return found;
}

/// What lets an Origin into the value that `set` gives to `name`: the ifs around it, or else the
/// maps in the value.
void gates_of_set(const Inspection& in, std::string_view name, const Directive& set,
                  const Scope& scope, Gates& out, int depth) {
  if (set.arg(1).empty() || gates_around(in, scope, out, depth)) return;
  for (const VariableUse& use : variables_in(set.arg(1))) {
    if (use.name == name) continue;
    if (use.name == "http_origin") out.open = &set;
    if (in.variables.map_of(use.name) != nullptr) {
      gates_of_variable(in, use.name, scope, out, depth);
    }
  }
}

void gates_of_variable(const Inspection& in, std::string_view name, const Scope& scope, Gates& out,
                       int depth) {
  if (depth > 4) {
    out.unknown = true;
    return;
  }
  if (const Directive* map = in.variables.map_of(name)) {
    gates_of_map(in, *map, out, depth);
    return;
  }
  const Server* server = in.model.server_of(scope);
  for (const Scope& other : in.model.scopes) {
    if (server != nullptr && in.model.server_of(other) != server) continue;
    for (const Directive* set : other.own_all("set")) {
      const std::string_view variable = set->arg(0);  // with its "$"
      if (variable.substr(std::min<std::size_t>(1, variable.size())) != name) continue;
      gates_of_set(in, name, *set, other, out, depth + 1);
    }
  }
}

void report_gates(Inspection& in, const Directive& header, const Scope& scope, const Gates& gates) {
  for (const Gate& gate : gates.list) {
    const std::string route = in.model.route_of(scope);
    const bool takes_null =
        gate.regex ? Pattern(gate.pattern, gate.ignore_case).search("null").value_or(false)
                   : ascii::iequals(gate.pattern, "null");
    if (takes_null) {
      Finding& finding =
          in.report("COR-03", Level::kMedium, *gate.at,
                    "the origin \"null\" is allowed: any sandboxed frame or local file has it");
      finding.trail.push_back({header.mark(), "allowed here"});
      finding.affected.push_back(route);
      if (!gate.regex) continue;
    }
    if (!gate.regex) continue;
    const Witness witness = find_witness(gate.pattern, gate.ignore_case);
    if (witness.origin.empty()) continue;
    Finding& finding = in.report(
        "COR-04", witness.only_scheme ? Level::kLow : Level::kHigh, *gate.at,
        witness.only_scheme
            ? std::string("the pattern also allows the origin in clear: whoever sits on the wire "
                          "speaks for it")
            : fmt::format("the pattern {}: an attacker's own origin is allowed", witness.why));
    finding.evidence = fmt::format("{} matches {}", witness.origin, gate.pattern);
    finding.trail.push_back({header.mark(), "allowed here"});
    finding.affected.push_back(route);
  }
}

/// All that lets an Origin into `value`, which `header` sends.
Gates gates_of_value(const Inspection& in, const Directive& header, std::string_view value,
                     const Scope& scope) {
  Gates gates;
  const bool around = gates_around(in, scope, gates, 0);
  for (const VariableUse& use : variables_in(value)) {
    if (use.name != "http_origin") {
      gates_of_variable(in, use.name, scope, gates, 0);
    } else if (!around) {
      gates.open = &header;
    }
  }
  return gates;
}

/// Reports that `open` lets every Origin into what `header` sends.
Finding& report_any_origin(Inspection& in, const Directive& header, const Directive& open,
                           bool credentials) {
  Finding& finding = in.report(
      credentials ? "COR-01" : "COR-02", credentials ? Level::kHigh : Level::kMedium, open,
      credentials ? "whatever origin asks is allowed, with credentials: any site reads answers as "
                    "the user; expected a map with exact origins"
                  : "whatever origin asks is allowed: expected a map with exact origins");
  if (&open != &header) finding.trail.push_back({header.mark(), "allowed here"});
  finding.evidence = "Origin: https://attacker.test is answered with itself";
  return finding;
}

/// Judges one Access-Control-Allow-Origin by its value: any origin, "null", or what variables hold.
void judge_allowed_origin(Inspection& in, const Scope& scope, const Directive& header,
                          std::string_view value) {
  const bool credentials = is_true(sent_header(scope, "Access-Control-Allow-Credentials"));
  const std::string route = in.model.route_of(scope);
  if (value == "*") {
    if (!credentials) return;
    in.report("COR-01", Level::kMedium, header,
              "any origin with credentials: browsers refuse \"*\" here, and the next edit makes "
              "it the caller's origin; expected a list")
        .affected.push_back(route);
    return;
  }
  if (ascii::iequals(value, "null")) {
    in.report("COR-03", Level::kMedium, header,
              "the origin \"null\" is allowed: any sandboxed frame or local file has it")
        .affected.push_back(route);
    return;
  }
  if (value.find('$') == std::string_view::npos) return;
  const Gates gates = gates_of_value(in, header, value, scope);
  if (gates.open != nullptr && !gates.unknown) {
    report_any_origin(in, header, *gates.open, credentials).affected.push_back(route);
  }
  report_gates(in, header, scope, gates);
}

void check_origins(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    for (const auto& [header, name, value] : own_fields(scope, kAllowOrigin)) {
      judge_allowed_origin(in, scope, *header, value);
    }
  }
}

void check_vary(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    for (const auto& [header, name, value] : own_fields(scope, kAllowOrigin)) {
      const bool dynamic = in.variables.depends_on(
          value, [](std::string_view v) { return v == "http_origin"; }, scope);
      if (!dynamic || return_status(scope) == 204) continue;
      bool varies = false;
      for (const Directive* other : scope.effective_all("add_header")) {
        varies = varies ||
                 (ascii::iequals(other->arg(0), "Vary") &&
                  (other->arg(1).find("rigin") != std::string_view::npos || other->arg(1) == "*"));
      }
      if (varies || sent_header(scope, "Vary") != nullptr) continue;
      in.report("COR-05", Level::kLow, *header,
                "the answer depends on Origin and does not say so: expected \"add_header Vary "
                "Origin always\", or a cache gives one site's answer to another")
          .affected.push_back(in.model.route_of(scope));
    }
  }
}

/// The number that the value of Access-Control-Max-Age starts with; what it has beyond 12 digits
/// does not count.
std::uint64_t max_age_seconds(std::string_view value) {
  std::uint64_t seconds = 0;
  for (const char c : value.substr(0, 12)) {
    if (!ascii::is_digit(c)) break;
    seconds = seconds * 10 + static_cast<unsigned>(c - '0');
  }
  return seconds;
}

/// What a header allows beyond what an API needs; "" when nothing.
std::string excess_of(std::string_view name, std::string_view value) {
  if (ascii::iequals(name, "Access-Control-Allow-Private-Network") && value == "true") {
    return "public sites may reach this server inside a private network";
  }
  if (ascii::iequals(name, "Access-Control-Max-Age")) {
    const std::uint64_t seconds = max_age_seconds(value);
    if (seconds <= 86'400) return {};
    return fmt::format("preflights are kept for {} s: expected 600", seconds);
  }
  const bool lists = ascii::iequals(name, "Access-Control-Allow-Methods") ||
                     ascii::iequals(name, "Access-Control-Allow-Headers");
  if (!lists || value != "*") return {};
  return fmt::format("{} is \"*\": expected those that the API takes", name);
}

void check_breadth(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    for (const Directive* header : scope.own_all("add_header")) {
      std::string what = excess_of(header->arg(0), header->arg(1));
      if (what.empty()) continue;
      in.report("COR-06", Level::kLow, *header, std::move(what))
          .affected.push_back(in.model.route_of(scope));
    }
  }
}

constexpr RuleEntry kRules[] = {
    {"COR-01", check_origins}, {"COR-02", nullptr},    {"COR-03", nullptr},
    {"COR-04", nullptr},       {"COR-05", check_vary}, {"COR-06", check_breadth},
};

}  // namespace

std::span<const RuleEntry> cors_rules() { return kRules; }

}  // namespace merlon::audit::nginx
