#include <fmt/format.h>

#include <algorithm>

#include "audit/envoy/rules.h"
#include "base/ascii.h"

namespace merlon::audit::envoy {
namespace {

std::string lowered(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), ascii::lower);
  return out;
}

std::string_view credential_in(std::string_view format) {
  constexpr std::string_view kWords[] = {
      "%req(authorization", "%req(cookie",  "%req(x-api-key",   "%req(proxy-authorization",
      "%req(x-auth-token",  "%req(api-key", "%resp(set-cookie", "%req(x-amz-security-token",
      "%req(x-access-token"};
  for (const std::string_view word : kWords) {
    if (format.find(word) != std::string_view::npos) return word.substr(word.find('(') + 1);
  }
  return {};
}

bool takes_tokens_in_query(const Inspection& in) {
  return std::ranges::any_of(in.model.hcms, [](const Hcm& hcm) {
    return std::ranges::any_of(hcm.filters, [](const Filter& filter) {
      if (!filter.config) return false;
      bool found = false;
      walk(*filter.config.node(),
           [&](const Node& node) { found = found || !Message(node).list("from_params").empty(); });
      return found;
    });
  });
}

template <class F>
void each_log(const Inspection& in, F&& visit) {
  for (const Hcm& hcm : in.model.hcms) {
    for (const Node& one : hcm.at.list("access_log")) visit(Message(one));
  }
  for (const Listener& listener : in.model.listeners) {
    for (const Node& one : listener.at.list("access_log")) visit(Message(one));
  }
}

void check_credentials(Inspection& in) {
  const bool query_tokens = takes_tokens_in_query(in);
  each_log(in, [&](const Message& log) {
    walk(*log.node(), [&](const Node& node) {
      if (!node.is_scalar() || node.text().find('%') == std::string_view::npos) return;
      const std::string text = lowered(node.text());
      const std::string_view what = credential_in(text);
      if (!what.empty()) {
        in.report("LOG-01", Level::kHigh, node.at(),
                  fmt::format("the log records {}: whoever reads it can act as the client", what));
      } else if (query_tokens &&
                 (text.find("%req(:path)") != std::string::npos ||
                  text.find("%req(x-envoy-original-path?:path)") != std::string::npos)) {
        in.report("LOG-01", Level::kHigh, node.at(),
                  "the log records the query, in which tokens are taken");
      }
    });
  });
}

void check_off(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    if (hcm.listener->is_local() || !hcm.at.list("access_log").empty()) continue;
    if (hcm.at.has("access_log_options") && !hcm.listener->at.list("access_log").empty()) continue;
    const auto routes = hcm.all_routes();
    const bool serves = hcm.routes == nullptr ||
                        std::ranges::any_of(routes, [](const Route* r) { return bool(r->action); });
    if (!serves) continue;
    in.report("LOG-02", Level::kMedium,
              hcm.at.has("access_log") ? hcm.at.at("access_log") : hcm.at.at(),
              "requests are not logged: expected access_log");
  }
}

void check_fields(Inspection& in) {
  each_log(in, [&](const Message& log) {
    const Message config = typed_config(log).config;
    const Message format = config.message("log_format");
    if (!format) return;
    std::string all;
    walk(*format.node(), [&](const Node& node) {
      if (node.is_scalar()) all += lowered(node.text()) + " ";
    });
    if (all.find('%') == std::string::npos) return;
    const auto has = [&](std::string_view word) { return all.find(word) != std::string::npos; };
    std::vector<std::string> missing;
    if (!has("response_code%")) missing.emplace_back("the status");
    if (!has("remote_address") && !has("x-forwarded-for") && !has("remote_port")) {
      missing.emplace_back("the client's address");
    }
    if (!has("x-request-id")) missing.emplace_back("the request id");
    if (missing.empty()) return;
    in.report("LOG-04", Level::kLow, config.at("log_format"),
              fmt::format("the log lacks {}", join_some(missing)));
  });
}

constexpr RuleEntry kRules[] = {
    {"LOG-01", check_credentials}, {"LOG-02", check_off}, {"LOG-04", check_fields}};

}  // namespace

std::span<const RuleEntry> logging_rules() { return kRules; }

}  // namespace merlon::audit::envoy
