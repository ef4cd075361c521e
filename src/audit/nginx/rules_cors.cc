#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>

#include "audit/nginx/header_view.h"
#include "audit/nginx/origin_gates.h"
#include "audit/nginx/origin_witness.h"
#include "audit/nginx/rules.h"
#include "base/ascii.h"

namespace merlon::audit::nginx {
namespace {

constexpr std::string_view kAllowOrigin = "Access-Control-Allow-Origin";

constexpr std::string_view kAllowCredentials = "Access-Control-Allow-Credentials";
/// An origin that no configuration lists.
constexpr std::string_view kAttacker = "https://attacker.test";

/// True when one of the values that maps and `set` give the variables of `text` is "true".
bool may_be_true(const Inspection& in, const Scope& scope, std::string_view text) {
  return std::ranges::any_of(variables_in(text), [&](const VariableUse& use) {
    const Directive* map = in.variables.map_of(use.name);
    const bool mapped = map != nullptr && std::ranges::any_of(map->body, [](const auto* entry) {
                          return ascii::iequals(entry->arg(0), "true");
                        });
    return mapped || std::ranges::any_of(in.variables.sets_before(use.name, scope),
                                         [](const Variables::SetAt& one) {
                                           return ascii::iequals(one.set->arg(1), "true");
                                         });
  });
}

/// True when the attacker's origin is, or may be, answered with the leave to use credentials.
bool allows_credentials(const Inspection& in, const Scope& scope) {
  const Directive* header = sent_header(scope, kAllowCredentials);
  if (header == nullptr) return false;
  const std::string_view value = header_value(*header, kAllowCredentials);
  RewritePhase phase({.variables = {{"http_origin", std::string(kAttacker)}}}, &in.variables);
  if (const Server* server = in.model.server_of(scope)) phase.run(*server->scope);
  if (const Location* location = in.model.location_of(scope)) phase.run(*location->scope);
  const std::optional<std::string> sent = phase.expand(value);
  return sent ? ascii::iequals(*sent, "true") : may_be_true(in, scope, value);
}

/// One gate can stand before many routes, and looking for a witness takes long.
class Witnesses {
 public:
  const Witness& of(const OriginGate& gate) {
    const auto [found, added] = known_.try_emplace({gate.pattern, gate.ignore_case});
    if (added) found->second = find_witness(gate.pattern, gate.ignore_case);
    return found->second;
  }

 private:
  std::map<std::pair<std::string_view, bool>, Witness> known_;
};

void report_gates(Inspection& in, const Directive& header, const Scope& scope,
                  const OriginGates& gates, Witnesses& witnesses) {
  for (const OriginGate& gate : gates.list) {
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
    const Witness& witness = witnesses.of(gate);
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

/// Reports that `open` lets every Origin into what `header` sends.
Finding& report_any_origin(Inspection& in, const Directive& header, const Directive& open,
                           bool credentials) {
  Finding& finding = in.report(
      credentials ? "COR-01" : "COR-02", credentials ? Level::kHigh : Level::kMedium, open,
      credentials ? "whatever origin asks is allowed, with credentials: any site reads answers as "
                    "the user; expected a map with exact origins"
                  : "whatever origin asks is allowed: expected a map with exact origins");
  if (&open != &header) finding.trail.push_back({header.mark(), "allowed here"});
  finding.evidence = fmt::format("Origin: {} is answered with itself", kAttacker);
  return finding;
}

/// Judges one Access-Control-Allow-Origin by its value: any origin, "null", or what variables hold.
void judge_allowed_origin(Inspection& in, const Scope& scope, const Directive& header,
                          std::string_view value, Witnesses& witnesses) {
  const bool credentials = allows_credentials(in, scope);
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
  const OriginGates gates = gates_of_origin(in, header, value, scope);
  if (gates.open != nullptr) {
    report_any_origin(in, header, *gates.open, credentials).affected.push_back(route);
  }
  report_gates(in, header, scope, gates, witnesses);
}

void check_origins(Inspection& in) {
  Witnesses witnesses;
  for (const Scope& scope : in.model.scopes) {
    for (const auto& [header, name, value] : own_fields(scope, kAllowOrigin)) {
      judge_allowed_origin(in, scope, *header, value, witnesses);
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
