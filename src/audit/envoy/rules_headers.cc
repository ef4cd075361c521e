#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "audit/content_policy.h"
#include "audit/envoy/rules.h"
#include "base/ascii.h"

namespace merlon::audit::envoy {
namespace {

/// Visits every header that is added to answers of a route table, innermost last.
template <class F>
void each_added(const RouteConfig& config, F&& visit) {
  const auto in = [&](const Message& holder) {
    for (const Node& one : holder.list("response_headers_to_add")) {
      visit(Message(one).message("header"));
    }
  };
  in(config.at);
  for (const VirtualHost* host : config.hosts) {
    in(host->at);
    for (const Route* route : host->routes) in(route->at);
  }
}

bool adds(const Message& holder, std::string_view name) {
  return std::ranges::any_of(holder.list("response_headers_to_add"), [&](const Node& one) {
    return ascii::iequals(Message(one).message("header").text("key"), name);
  });
}

/// Filters that may set headers in ways that are not read here.
bool may_set_headers(const Hcm& hcm) {
  return std::ranges::any_of(hcm.filters, [](const Filter& f) {
    return f.is("lua") || f.is("wasm") || f.is("header_mutation") || f.is("ext_proc") ||
           f.is("custom_response") || f.is("golang");
  });
}

std::vector<std::string> routes_without(const Hcm& hcm, std::string_view name) {
  std::vector<std::string> out;
  if (adds(hcm.routes->at, name)) return out;
  for (const VirtualHost* host : hcm.routes->hosts) {
    if (adds(host->at, name)) continue;
    for (const Route* route : host->routes) {
      if (route->action && !adds(route->at, name)) out.push_back(route->label());
    }
  }
  return sorted(std::move(out));
}

struct Wanted {
  std::string_view rule;
  std::string_view header;
  Level level;
  Confidence confidence;
  bool https_only;
  std::string_view value;
};

constexpr Wanted kWanted[] = {
    {"HDR-03", "x-content-type-options", Level::kLow, Confidence::kLikely, false, "nosniff"},
    {"HDR-04", "x-frame-options", Level::kInfo, Confidence::kPossible, false, "DENY"},
    {"HDR-05", "content-security-policy", Level::kInfo, Confidence::kPossible, false,
     "default-src 'none'; frame-ancestors 'none'"},
    {"HDR-07", "strict-transport-security", Level::kMedium, Confidence::kLikely, true,
     "max-age=31536000; includeSubDomains"},
};

void check_missing(Inspection& in) {
  std::set<std::pair<const RouteConfig*, std::string_view>> done;
  for (const Hcm& hcm : in.model.hcms) {
    if (!is_edge(hcm) || hcm.routes == nullptr || may_set_headers(hcm)) continue;
    for (const Wanted& wanted : kWanted) {
      if (wanted.https_only && hcm.chain->tls == nullptr) continue;
      std::vector<std::string> without = routes_without(hcm, wanted.header);
      if (wanted.rule == "HDR-04" && routes_without(hcm, "content-security-policy").empty()) {
        continue;  // frame-ancestors is part of that policy
      }
      if (without.empty() || !done.insert({hcm.routes, wanted.rule}).second) continue;
      Finding& finding = in.report(wanted.rule, wanted.level, hcm.routes->at.at(),
                                   fmt::format("answers have no {}", wanted.header));
      finding.confidence = wanted.confidence;
      finding.affected = std::move(without);
      finding.remediation =
          fmt::format("response_headers_to_add: [{{ header: {{ key: {}, value: \"{}\" }} }}]",
                      wanted.header, wanted.value);
    }
  }
}

void judge_hsts(Inspection& in, const RouteConfig& config, const Message& header) {
  constexpr std::uint64_t kSixMonths = 15'552'000;
  std::string value(header.text("value"));
  std::ranges::transform(value, value.begin(), ascii::lower);
  const std::size_t at = value.find("max-age=");
  std::uint64_t seconds = 0;
  if (at != std::string::npos) {
    std::string_view digits = std::string_view(value).substr(at + 8);
    if (digits.starts_with('"')) digits.remove_prefix(1);
    std::from_chars(digits.data(), digits.data() + digits.size(), seconds);
  }
  const bool clear = !config.users.empty() && std::ranges::all_of(config.users, [](const Hcm* hcm) {
    return hcm->chain->tls == nullptr && !hcm->chain->transport_unknown &&
           !hcm->listener->is_local() && !hcm->at.has("xff_num_trusted_hops");
  });
  if (seconds < kSixMonths) {
    in.report("HDR-08", Level::kLow, header.at("value"),
              seconds == 0 ? "max-age is 0: browsers forget the host; meant as a rollback?"
                           : fmt::format("max-age is {} s: expected 31536000", seconds));
  } else if (clear) {
    in.report("HDR-08", Level::kLow, header.at("key"),
              "it is sent in clear text, where browsers do not believe it");
  }
}

void judge_value(Inspection& in, const RouteConfig& config, const Message& header) {
  const std::string_view key = header.text("key");
  const std::string_view value = header.text("value");
  if (value.find_first_of("\r\n") != std::string_view::npos) {
    in.report("HDR-11", Level::kLow, header.at("value"), "the value goes over more than one line");
  }
  if (ascii::iequals(key, "strict-transport-security")) return judge_hsts(in, config, header);
  if (ascii::iequals(key, "content-security-policy")) {
    const std::string_view weakness = script_weakness(value);
    if (weakness.empty() || value.find('%') != std::string_view::npos) return;
    in.report(
        "HDR-05", Level::kLow, header.at("value"),
        fmt::format("the policy lets scripts run by {}: it stops no injected script", weakness));
    return;
  }
  if (ascii::iequals(key, "referrer-policy") &&
      (value == "unsafe-url" || value == "origin" || value == "origin-when-cross-origin")) {
    in.report("HDR-06", Level::kInfo, header.at("value"),
              fmt::format("{} tells other sites where visitors come from", value));
  }
}

void check_values(Inspection& in) {
  for (const RouteConfig& config : in.model.route_configs) {
    each_added(config, [&](const Message& header) { judge_value(in, config, header); });
  }
}

bool is_security_header(std::string_view name) {
  constexpr std::string_view kNames[] = {"strict-transport-security", "content-security-policy",
                                         "x-content-type-options", "x-frame-options",
                                         "referrer-policy"};
  return std::ranges::any_of(kNames, [&](std::string_view n) { return ascii::iequals(n, name); });
}

/// Reports the security headers that `inner` removes although an outer level adds them.
void report_lost(Inspection& in, const Message& inner, std::span<const Message> outer,
                 const std::string& label) {
  for (const Node& one : inner.list("response_headers_to_remove")) {
    if (!is_security_header(one.text())) continue;
    const bool added =
        std::ranges::any_of(outer, [&](const Message& holder) { return adds(holder, one.text()); });
    if (!added) continue;
    in.report("HDR-01", Level::kMedium, one.at(),
              fmt::format("{} is lost here: an outer level adds it", one.text()))
        .affected = {label};
  }
}

/// Removal happens before addition on one level, but a table that gives its own level the last
/// word takes back what outer levels added.
void check_lost(Inspection& in) {
  for (const RouteConfig& config : in.model.route_configs) {
    if (!config.at.is_true("most_specific_header_mutations_wins")) continue;
    for (const VirtualHost* host : config.hosts) {
      const std::string name(host->domains.empty() ? "" : host->domains.front());
      const Message levels[] = {config.at, host->at};
      report_lost(in, host->at, std::span(levels).first(1), name);
      for (const Route* route : host->routes) report_lost(in, route->at, levels, route->label());
    }
  }
}

void check_cookies(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    for (const Filter& filter : hcm.filters) {
      if (!filter.is("stateful_session")) continue;
      const Message state = typed_config(filter.config.message("session_state")).config;
      const Message cookie = state.message("cookie");
      if (!cookie || hcm.listener->is_local()) continue;
      std::vector<std::string> have;
      for (const Node& one : cookie.list("attributes")) {
        std::string name(Message(one).text("name"));
        std::ranges::transform(name, name.begin(), ascii::lower);
        have.push_back(std::move(name));
      }
      std::vector<std::string> missing;
      for (const char* want : {"secure", "httponly", "samesite"}) {
        if (std::ranges::find(have, want) == have.end()) missing.emplace_back(want);
      }
      if (missing.empty()) continue;
      in.report("HDR-10", Level::kMedium, state.at("cookie"),
                fmt::format("the session cookie lacks {}", join_some(missing)));
    }
  }
}

std::string lacking(std::string_view attributes) {
  std::string low(attributes);
  std::ranges::transform(low, low.begin(), ascii::lower);
  std::vector<std::string> missing;
  for (const char* want : {"secure", "httponly", "samesite"}) {
    if (low.find(want) == std::string::npos) missing.emplace_back(want);
  }
  return missing.empty() ? std::string{} : join_some(missing);
}

void check_written_cookies(Inspection& in) {
  for (const RouteConfig& config : in.model.route_configs) {
    each_added(config, [&](const Message& header) {
      if (!ascii::iequals(header.text("key"), "set-cookie")) return;
      const std::string_view value = header.text("value");
      const std::size_t attributes = value.find(';');
      const std::string missing =
          lacking(attributes == std::string_view::npos ? "" : value.substr(attributes));
      if (missing.empty()) return;
      in.report("HDR-10", Level::kMedium, header.at("value"),
                fmt::format("the cookie lacks {}", missing));
    });
  }
}

void check_oauth_cookies(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    for (const Filter& filter : hcm.filters) {
      if (!filter.is("oauth2")) continue;
      const Message cookies = filter.config.path("config.cookie_configs");
      if (!cookies) continue;
      for (const config::Member& member : cookies.node()->members()) {
        if (Message(member.value).word("same_site", enums::kSameSite) != "NONE") continue;
        in.report("HDR-10", Level::kMedium, Message(member.value).at("same_site"),
                  "the cookie that signs users in goes with requests of other sites: expected "
                  "LAX or STRICT");
      }
    }
  }
}

void check_server(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    if (hcm.at.word("server_header_transformation", enums::kServerHeader) != "PASS_THROUGH")
      continue;
    in.report("INF-01", Level::kLow, hcm.at.at("server_header_transformation"),
              "the upstream's Server header, with its version, reaches clients");
  }
}

void check_banners(Inspection& in) {
  std::set<const RouteConfig*> done;
  for (const Hcm& hcm : in.model.hcms) {
    if (!is_edge(hcm) || hcm.routes == nullptr || may_set_headers(hcm)) continue;
    std::vector<std::string> open;
    for (const Route* route : hcm.all_routes()) {
      if (route->action && !removes_header(*route, "response_headers_to_remove", "x-powered-by")) {
        open.push_back(route->label());
      }
    }
    if (open.empty() || !done.insert(hcm.routes).second) continue;
    Finding& finding = in.report("INF-02", Level::kInfo, hcm.routes->at.at(),
                                 "X-Powered-By of upstreams reaches clients");
    finding.affected = sorted(std::move(open));
    finding.confidence = Confidence::kPossible;
  }
}

void check_error_pages(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    if (!is_edge(hcm) || hcm.at.has("local_reply_config")) continue;
    in.report("INF-03", Level::kLow, hcm.at.at(),
              "errors are told in Envoy's own words: expected local_reply_config");
  }
}

void check_envoy_headers(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    const Filter* router = hcm.find("router");
    if (!is_edge(hcm) || router == nullptr) continue;
    if (router->config.is_true("suppress_envoy_headers")) continue;
    in.report("INF-04", Level::kLow,
              router->config.has("suppress_envoy_headers")
                  ? router->config.at("suppress_envoy_headers")
                  : router->at.at(),
              "x-envoy headers go out to clients: expected suppress_envoy_headers: true")
        .fix = write_field(router->config, "suppress_envoy_headers", "true");
  }
}

constexpr RuleEntry kRules[] = {{"HDR-01", check_lost},
                                {"HDR-03", check_missing},
                                {"HDR-04", nullptr},
                                {"HDR-05", check_values},
                                {"HDR-06", nullptr},
                                {"HDR-07", nullptr},
                                {"HDR-08", nullptr},
                                {"HDR-11", nullptr},
                                {"HDR-10", check_cookies},
                                {"HDR-10", check_written_cookies},
                                {"HDR-10", check_oauth_cookies},
                                {"INF-01", check_server},
                                {"INF-02", check_banners},
                                {"INF-03", check_error_pages},
                                {"INF-04", check_envoy_headers}};

}  // namespace

std::span<const RuleEntry> header_rules() { return kRules; }

}  // namespace merlon::audit::envoy
