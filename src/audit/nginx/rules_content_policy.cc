#include <fmt/format.h>

#include "audit/content_policy.h"
#include "audit/nginx/header_view.h"
#include "audit/nginx/page_headers.h"
#include "audit/nginx/rules.h"
#include "base/ascii.h"

namespace merlon::audit::nginx {
namespace {

/// Browsers know DENY and SAMEORIGIN, and take any other value for none (RFC 7034, HTML 7.7).
bool is_framing_value(std::string_view value) {
  value = ascii::trim_ows(value);
  return value.find('$') != std::string_view::npos || ascii::iequals(value, "DENY") ||
         ascii::iequals(value, "SAMEORIGIN");
}

/// Who may frame what the scope answers. A frame-ancestors behind a variable is taken for a limit.
Framing framing(const Scope& scope) {
  const std::string_view policy = sent_value(scope, "Content-Security-Policy");
  const Framing said = framing_of(policy);
  const bool held = said == Framing::kUnsaid && policy.find("frame-ancestors") != policy.npos;
  return held ? Framing::kSome : said;
}

bool limits_framing(const Scope& scope) {
  const Framing by_policy = framing(scope);
  if (by_policy != Framing::kUnsaid) return by_policy == Framing::kSome;
  return !sent_value(scope, "X-Frame-Options").empty();
}

void check_framing(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    for (const auto& [header, name, value] : own_fields(scope, "X-Frame-Options")) {
      if (value.empty() || is_framing_value(value)) continue;
      if (framing(scope) != Framing::kUnsaid) continue;  // which browsers prefer
      in.report(
            "HDR-04", Level::kLow, *header,
            fmt::format("X-Frame-Options \"{}\" is no value that browsers know: they ignore it; "
                        "expected DENY or SAMEORIGIN",
                        value))
          .affected.push_back(in.model.route_of(scope));
    }
  }
  report_absent(in, "HDR-04",
                "neither X-Frame-Options nor a frame-ancestors of Content-Security-Policy says who "
                "may frame a page",
                limits_framing, Level::kLow, Level::kInfo);
}

void check_policy(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    for (const auto& [header, name, value] : own_fields(scope, "Content-Security-Policy")) {
      const std::string_view weakness = script_weakness(value);
      if (weakness.empty() || value.find('$') != std::string_view::npos) continue;
      in.report(
            "HDR-05", Level::kLow, *header,
            fmt::format("the policy lets scripts run by {}: it stops no injected script", weakness))
          .affected.push_back(in.model.route_of(scope));
    }
  }
  report_absent(
      in, "HDR-05", "Content-Security-Policy is set nowhere",
      [](const Scope& s) { return sent_header(s, "Content-Security-Policy") != nullptr; },
      Level::kLow, Level::kInfo);
}

constexpr RuleEntry kRules[] = {
    {"HDR-04", check_framing},
    {"HDR-05", check_policy},
};

}  // namespace

std::span<const RuleEntry> content_policy_rules() { return kRules; }

}  // namespace merlon::audit::nginx
