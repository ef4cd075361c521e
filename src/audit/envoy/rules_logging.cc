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

struct Operator {
  std::string_view start;  ///< in lower case, with the parenthesis
  std::span<const std::string_view> secrets;
};

constexpr std::string_view kRequestSecrets[] = {
    "authorization", "cookie",          "proxy-authorization", "x-api-key",
    "api-key",       "x-auth-token",    "x-access-token",      "x-amz-security-token",
    "x-vault-token", "x-session-token", "x-id-token",          "x-jwt-assertion",
    "x-user-token",  "x-refresh-token", "private-token",       "x-goog-iap-jwt-assertion"};
constexpr std::string_view kResponseSecrets[] = {"set-cookie", "authorization"};
constexpr std::string_view kQuerySecrets[] = {
    "token",    "access_token", "refresh_token", "id_token",      "api_key",    "apikey",
    "password", "secret",       "jwt",           "client_secret", "auth_token", "sig"};
constexpr Operator kOperators[] = {{"%req(", kRequestSecrets},
                                   {"%request_header(", kRequestSecrets},
                                   {"%resp(", kResponseSecrets},
                                   {"%response_header(", kResponseSecrets},
                                   {"%query_param(", kQuerySecrets}};

/// So few characters of a value, as in %REQ(AUTHORIZATION):10%, are its scheme at most.
constexpr int kHarmlessMax = 10;

bool is_cut_short(std::string_view after) {
  int length = 0;
  if (!after.starts_with("):")) return false;
  for (const char c : after.substr(2)) {
    if (!ascii::is_digit(c)) break;
    length = length * 10 + (c - '0');
    if (length > kHarmlessMax) return false;
  }
  return true;
}

/// The credential that an operator of a format records, as %REQ(X?Y)% names two; "" when none.
std::string_view credential_in(std::string_view format) {
  for (const Operator& one : kOperators) {
    for (std::size_t at = format.find(one.start); at != std::string_view::npos;
         at = format.find(one.start, at + 1)) {
      const std::string_view rest = format.substr(at + one.start.size());
      const std::size_t end = rest.find(')');
      if (end == std::string_view::npos || is_cut_short(rest.substr(end))) continue;
      const std::string_view names = rest.substr(0, end);
      const std::size_t second = names.find('?');
      const auto is_secret = [&](std::string_view name) {
        return std::ranges::find(one.secrets, name) != one.secrets.end();
      };
      if (is_secret(names.substr(0, second))) return names.substr(0, second);
      if (second == std::string_view::npos) continue;
      if (is_secret(names.substr(second + 1))) return names.substr(second + 1);
    }
  }
  return {};
}

/// True when the path stands in the log with its query.
bool records_query(std::string_view format) {
  for (const char* word :
       {"%req(:path)", "%req(x-envoy-original-path?:path)", "%path(wq", "%request_header(:path)",
        "%request_header(x-envoy-original-path?:path)"}) {
    if (format.find(word) != std::string_view::npos) return true;
  }
  return false;
}

/// True when a filter takes what authenticates a client from the query: the token of a provider of
/// jwt_authn, or the key of api_key_auth.
bool takes_tokens_in_query(const Filter& filter) {
  if (!filter.config) return false;
  bool found = false;
  walk(*filter.config.node(), [&](const Node& node) {
    const Message at(node);
    found = found || !at.list("from_params").empty() ||
            std::ranges::any_of(at.list("key_sources"),
                                [](const Node& one) { return Message(one).has("query"); });
  });
  return found;
}

bool takes_tokens_in_query(const Inspection& in) {
  return std::ranges::any_of(in.model.hcms, [](const Hcm& hcm) {
    return std::ranges::any_of(hcm.filters,
                               [](const Filter& filter) { return takes_tokens_in_query(filter); });
  });
}

/// The fields that a gRPC access log sends along, by the lists that name them.
void check_added_headers(Inspection& in, const Message& log) {
  struct List {
    const char* key;
    std::span<const std::string_view> secrets;
  };
  constexpr List kLists[] = {{"additional_request_headers_to_log", kRequestSecrets},
                             {"additional_response_headers_to_log", kResponseSecrets},
                             {"additional_response_trailers_to_log", kResponseSecrets}};
  const Message config = typed_config(log).config;
  for (const List& list : kLists) {
    for (const Node& one : config.list(list.key)) {
      const std::string name = lowered(one.text());
      if (std::ranges::find(list.secrets, name) == list.secrets.end()) continue;
      in.report("LOG-01", Level::kHigh, one.at(),
                fmt::format("the log records {}: whoever reads it can act as the client", name));
    }
  }
}

/// A tap writes whole requests, with what authenticates them.
void check_taps(Inspection& in) {
  const auto judge = [&](const Node& node) {
    const Message common = Message(node).message("common_config");
    if (common.has("admin_config")) {
      in.report("LOG-01", Level::kInfo, common.at("admin_config"),
                "a tap: whoever reaches the admin interface reads requests with their credentials");
    }
    const Message fixed = common.message("static_config");
    if (fixed.path("output_config").list("sinks").empty()) return;
    in.report(
          "LOG-01", Level::kHigh, common.at("static_config"),
          "a tap writes requests with their credentials: whoever reads it can act as the client")
        .remediation = "Remove the tap, or use admin_config while it is needed";
  };
  for (const Listener& listener : in.model.listeners) walk(*listener.at.node(), judge);
  for (const Cluster& cluster : in.model.clusters) walk(*cluster.at.node(), judge);
}

/// The logs of requests.
template <class F>
void each_log(const Inspection& in, F&& visit) {
  for (const Hcm& hcm : in.model.hcms) {
    for (const Node& one : hcm.at.list("access_log")) visit(Message(one));
  }
  for (const Listener& listener : in.model.listeners) {
    for (const Node& one : listener.at.list("access_log")) visit(Message(one));
  }
}

/// The logs of what goes to upstreams, and of the admin interface.
template <class F>
void each_other_log(const Inspection& in, F&& visit) {
  each_filter(in, "router", [&](const Hcm&, std::size_t, const Message& router) {
    for (const Node& one : router.list("upstream_log")) visit(Message(one));
  });
  for (const Node& one : in.model.bootstrap().message("admin").list("access_log")) {
    visit(Message(one));
  }
}

void check_credentials(Inspection& in) {
  const bool query_tokens = takes_tokens_in_query(in);
  const auto judge = [&](const Message& log) {
    const Node* query = nullptr;
    check_added_headers(in, log);
    walk(*log.node(), [&](const Node& node) {
      if (!node.is_scalar() || node.text().find('%') == std::string_view::npos) return;
      const std::string text = lowered(node.text());
      const std::string_view what = credential_in(text);
      if (!what.empty()) {
        in.report("LOG-01", Level::kHigh, node.at(),
                  fmt::format("the log records {}: whoever reads it can act as the client", what));
      } else if (query == nullptr && records_query(text)) {
        query = &node;
      }
    });
    if (query == nullptr) return;
    in.report("LOG-01", query_tokens ? Level::kHigh : Level::kInfo, query->at(),
              query_tokens ? "the log records the query, in which tokens are taken"
                           : "the log records the query, and what clients put there: "
                             "%PATH(NQ)% leaves it out");
  };
  each_log(in, judge);
  each_other_log(in, judge);
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

constexpr RuleEntry kRules[] = {{"LOG-01", check_credentials},
                                {"LOG-01", check_taps},
                                {"LOG-02", check_off},
                                {"LOG-04", check_fields}};

}  // namespace

std::span<const RuleEntry> logging_rules() { return kRules; }

}  // namespace merlon::audit::envoy
