#include "cli/explain.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ascii.h"
#include "base/escape.h"
#include "base/print_error.h"
#include "cli/diagnostics_output.h"
#include "cli/load_or_tell.h"
#include "gateway/explain.h"
#include "http/host.h"

namespace merlon::cli {
namespace {

using gateway::Explanation;
using gateway::Listener;
using gateway::MadeUpRequest;
using gateway::Plan;

constexpr int kRefused = 1;
constexpr int kUsage = 2;
constexpr int kBadConfiguration = 3;
constexpr int kUndecided = 4;

struct Arguments {
  std::string config;
  std::string request;
  std::vector<std::string> fields;
  std::string body;
  std::string client = "192.0.2.1";  // an address of nobody, RFC 5737
  std::string proxy;
  std::string listener;
  std::string format = "text";
  bool batch = false;
};

int complain(std::string_view what) {
  print_error("merlon explain: {}\n", what);
  return kUsage;
}

const Listener* find_listener(const Plan& plan, std::string_view name) {
  const auto found = std::ranges::find(plan.listeners, name, &Listener::name);
  return found == plan.listeners.end() ? nullptr : &*found;
}

/// What 'GET https://host/path' says.
struct RequestLine {
  std::string_view method;
  bool secure = false;
  std::string_view authority;
  std::string_view target = "/";
};

std::optional<RequestLine> parse_request(std::string_view text) {
  RequestLine out;
  const std::size_t space = text.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  out.method = text.substr(0, space);
  std::string_view url = text.substr(space + 1);
  const std::size_t scheme = url.find("://");
  if (scheme == std::string_view::npos) return std::nullopt;
  out.secure = ascii::iequals(url.substr(0, scheme), "https");
  if (!out.secure && !ascii::iequals(url.substr(0, scheme), "http")) return std::nullopt;
  url.remove_prefix(scheme + 3);
  url = url.substr(0, url.find('#'));  // no client sends a fragment
  const std::size_t end = url.find_first_of("/?");
  out.authority = url.substr(0, end);
  if (end != std::string_view::npos) out.target = url.substr(end);
  return out.authority.empty() ? std::nullopt : std::optional(out);
}

bool gives(const Arguments& arguments, std::string_view name) {
  return std::ranges::any_of(arguments.fields, [&](std::string_view field) {
    return ascii::iequals(field.substr(0, field.find(':')), name);
  });
}

/// The bytes that a client would send: what a field says stands in place of what is meant without
/// it. Fields are not judged here: that is what is explained.
std::string head_of(const RequestLine& line, const Arguments& arguments) {
  std::string head = fmt::format("{} {}{} HTTP/1.1\r\n", line.method,
                                 line.target.starts_with('?') ? "/" : "", line.target);
  if (!gives(arguments, "Host")) head += fmt::format("Host: {}\r\n", line.authority);
  for (const std::string& field : arguments.fields) head += field + "\r\n";
  const bool framed = gives(arguments, "Content-Length") || gives(arguments, "Transfer-Encoding");
  if (!arguments.body.empty() && !framed)
    head += fmt::format("Content-Length: {}\r\n", arguments.body.size());
  return head + "\r\n";
}

std::string text_report(const Explanation& found) {
  std::size_t step_width = 0;
  std::size_t decision_width = 0;
  for (const auto& step : found.steps) {
    step_width = std::max(step_width, step.step.size());
    decision_width = std::max(decision_width, std::min<std::size_t>(step.decision.size(), 60));
  }
  std::string out;
  for (const auto& step : found.steps) {
    std::string line = fmt::format("  {:<{}}  {:<{}}  {}", step.step, step_width, step.decision,
                                   decision_width, step.line);
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  if (found.refused) {
    out += fmt::format("refused{}: {}, by the rule {}{}\n",
                       found.status == 0 ? "" : fmt::format(" with {}", found.status), found.what,
                       found.rule, found.line.empty() ? "" : " at " + found.line);
  } else if (found.status != 0) {
    out += fmt::format("answered by the gateway with {}\n", found.status);
  } else if (found.undecided) {
    out += fmt::format("cannot be told without a running gateway: {}\n", found.what);
  } else {
    out += fmt::format("let through to the upstream {}\n", found.upstream);
  }
  out += "not simulated:\n";
  for (const std::string& what : found.not_simulated) out += fmt::format("  {}\n", what);
  return out;
}

std::string_view verdict_of(const Explanation& found) {
  if (found.refused) return "refused";
  if (found.undecided) return "undecided";
  return found.status != 0 ? "answered" : "forwarded";
}

int exit_code_of(const Explanation& found) {
  if (found.undecided) return kUndecided;
  return found.refused ? kRefused : 0;
}

/// One line, so that a batch gives a line for each request.
std::string json_report(const Explanation& found) {
  std::string out = fmt::format(R"({{"verdict": "{}", "status": {})", verdict_of(found),
                                found.status == 0 ? "null" : fmt::format("{}", found.status));
  const auto add = [&](std::string_view key, const std::string& value) {
    if (!value.empty()) out += fmt::format(R"(, "{}": {})", key, json_quoted(value));
  };
  add("route", found.route);
  add("upstream", found.upstream);
  add("step", found.step);
  add("rule", found.rule);
  add("line", found.line);
  add("reason", found.what);
  out += R"(, "steps": [)";
  for (std::size_t i = 0; i < found.steps.size(); ++i) {
    const auto& step = found.steps[i];
    out += fmt::format(R"({}{{"step": {}, "decision": {}, "line": {}}})", i == 0 ? "" : ", ",
                       json_quoted(step.step), json_quoted(step.decision),
                       step.line.empty() ? "null" : json_quoted(step.line));
  }
  out += R"(], "not_simulated": [)";
  const char* before = "";
  for (const std::string& what : found.not_simulated)
    out += std::exchange(before, ", ") + json_quoted(what);
  return out + "]}\n";
}

/// Why parts of the configuration are closed: a 503 without that would be a riddle.
void tell_what_is_closed(const gateway::LoadResult& loaded) {
  if (loaded.plan->closed.empty()) return;
  print_error("closed, because their files cannot be used: {}\n",
              fmt::join(loaded.plan->closed, ", "));
  Diagnostics warnings;
  for (const Diagnostic& said : loaded.diagnostics.all()) {
    if (said.severity == Severity::kWarning) warnings.add(said);
  }
  print_error("{}", warnings.render());
}

Explanation explain_now(const Plan& plan, const MadeUpRequest& request) {
  SystemClock clock;
  return gateway::explain(plan, request, clock.now(), clock.wall_now());
}

/// Who connects for the client: nobody without a word, and only a listener that hears of clients
/// from others has somebody. False when `text` is neither.
bool read_proxy(const std::string& text, const Listener& listener,
                std::optional<IpAddress>& proxy) {
  if (text.empty()) return true;
  if (const auto address = IpAddress::parse(text)) proxy = *address;
  return proxy.has_value() && listener.proxy_protocol;
}

int explain_one(const Arguments& arguments, const Plan& plan) {
  const auto line = parse_request(arguments.request);
  if (!line) return complain("a request is a method and a URL: 'GET https://api.example.com/x'");
  const auto client = IpAddress::parse(arguments.client);
  if (!client) return complain("--client is an address, such as 192.0.2.1");
  std::array<char, http::kHostBytesMax> scratch;
  const auto host = http::canonical_host(line->authority, scratch);
  const Listener* listener =
      !arguments.listener.empty()
          ? find_listener(plan, arguments.listener)
          : gateway::listener_for(plan, line->secure, host ? host->port : std::uint16_t{0},
                                  host ? host->name : std::string_view{});
  if (listener == nullptr) {
    return complain(
        arguments.listener.empty()
            ? fmt::format("no listener speaks {}{}", line->secure ? "https" : "http",
                          host && host->port != 0 ? fmt::format(" on port {}", host->port) : "")
            : fmt::format("no listener is named {}", arguments.listener));
  }
  const std::string_view secure_name = line->secure && host ? host->name : std::string_view();
  std::optional<IpAddress> proxy;
  if (!read_proxy(arguments.proxy, *listener, proxy)) {
    return complain(
        "--proxy is the address that connects to a listener with `proxy_protocol`; to other "
        "listeners the client itself connects");
  }
  const Explanation found = explain_now(plan, {.head = head_of(*line, arguments),
                                               .body = arguments.body,
                                               .client = *client,
                                               .proxy = proxy,
                                               .listener = listener,
                                               .server_name = std::string(secure_name)});
  print(arguments.format == "json" ? json_report(found) : text_report(found));
  return exit_code_of(found);
}

/// An object of strings with members that are known, so that none is passed over: a misspelt one
/// would have another request explained.
bool is_wish(const nlohmann::json& wish) {
  constexpr std::string_view kMembers[] = {"head",  "body",     "client",
                                           "proxy", "listener", "server_name"};
  if (!wish.is_object() || !wish.contains("head")) return false;
  for (const auto& [key, value] : wish.items()) {
    const bool known = std::ranges::find(kMembers, key) != std::end(kMembers);
    if (!known || !value.is_string()) return false;
  }
  return true;
}

int complain_of_line(std::size_t number) {
  return complain(
      fmt::format("line {} of standard input is not a request: {{\"head\": \"GET / HTTP/1.1\\r\\n"
                  "…\"}}, optionally with `body`, `client`, `proxy`, `listener` and `server_name`",
                  number));
}

/// Requests as JSON lines from standard input: `head` (the bytes of one, with its empty line), and
/// optionally `body`, `client`, `proxy`, `listener` and `server_name`. An answer goes out for each,
/// in order.
int explain_batch(const Arguments& arguments, const Plan& plan) {
  int code = 0;
  std::string text;
  for (std::size_t number = 1; std::getline(std::cin, text); ++number) {
    const auto wish = nlohmann::json::parse(text, nullptr, false);
    const auto value = [&](const char* key, std::string otherwise) {
      return wish.contains(key) ? wish[key].get<std::string>() : otherwise;
    };
    if (!is_wish(wish)) return complain_of_line(number);
    const std::string head = value("head", "");
    const auto client = IpAddress::parse(value("client", arguments.client));
    const std::string name = value("listener", arguments.listener);
    const Listener* listener = name.empty() ? &plan.listeners.front() : find_listener(plan, name);
    std::optional<IpAddress> proxy;
    if (head.empty() || !client || listener == nullptr ||
        !read_proxy(value("proxy", arguments.proxy), *listener, proxy)) {
      return complain_of_line(number);
    }
    const Explanation found = explain_now(plan, {.head = head,
                                                 .body = value("body", ""),
                                                 .client = *client,
                                                 .proxy = proxy,
                                                 .listener = listener,
                                                 .server_name = value("server_name", "")});
    print(json_report(found));
    code = std::max(code, exit_code_of(found));
  }
  return code;
}

int run(const Arguments& arguments) {
  if (arguments.batch == !arguments.request.empty())
    return complain("give one request, or --batch and requests on standard input");
  const auto broker = io::make_local_broker();
  const gateway::LoadResult loaded = load_or_tell(arguments.config, *broker);
  if (loaded.plan == nullptr) return kBadConfiguration;
  tell_what_is_closed(loaded);
  return arguments.batch ? explain_batch(arguments, *loaded.plan)
                         : explain_one(arguments, *loaded.plan);
}

}  // namespace

void add_explain_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "explain",
      "Shows which step decides about a request, why, and by which line of the configuration");
  command->add_option("REQUEST", arguments->request, "A method and a URL, as one argument");
  command->add_option("-c,--config", arguments->config, "The configuration file")->required();
  command->add_option("-H,--header", arguments->fields, "A field of the request, NAME:VALUE")
      ->allow_extra_args(false);
  command->add_option("--body", arguments->body, "The body of the request");
  command->add_option("--client", arguments->client, "The address of the client")
      ->capture_default_str();
  command->add_option("--proxy", arguments->proxy,
                      "The address of the proxy, for a listener with `proxy_protocol`; by default "
                      "one of `trusted_proxies`");
  command->add_option("--listener", arguments->listener,
                      "The listener that receives it; by default chosen by the URL");
  command->add_option("--format", arguments->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  command->add_flag("--batch", arguments->batch,
                    "Read requests from standard input, one JSON object per line: head, and "
                    "optionally body, client, proxy, listener, server_name (of TLS, in lower case; "
                    "by default the Host); answers are JSON lines");
  command->footer(
      "No request is sent and no limit is used up. The end of the answer lists what it does not "
      "take into account (load, counts of limits, Redis, the upstream).\n"
      "Exit codes: 0 let through or answered, 1 refused, 2 wrong usage, 3 the configuration has "
      "errors, 4 only a running gateway can tell, since it has to fetch keys, ask about a token or "
      "see a client's certificate.\n"
      "Example: merlon explain -c merlon.yaml 'GET https://api.example.com/orders' -H 'Origin: "
      "https://app.example.com'");
  command->callback([arguments, &exit_code] { exit_code = run(*arguments); });
}

}  // namespace merlon::cli
