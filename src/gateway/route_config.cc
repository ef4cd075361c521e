#include "gateway/route_config.h"

#include <fmt/format.h>

#include <array>

#include "base/ascii.h"
#include "gateway/identity_fields.h"
#include "gateway/patterns.h"
#include "http/message.h"
#include "http/request_rules.h"
#include "policy/value_types.h"

namespace merlon::gateway {
namespace {

using config::Object;
using config::Reader;
using config::Type;
using policy::field_name;
using policy::judged;
using policy::problem_of_field_value;
using std::chrono::hours;
using std::chrono::minutes;

constexpr std::size_t kHostsMax = 256;
constexpr std::size_t kMethodsMax = 64;
constexpr std::size_t kRespondBytesMax = 64UL * 1024;  // longer answers are an upstream's work

std::string problem_of_path(std::string_view text) {
  const auto pattern = parse_path_pattern(text);
  return pattern.has_value() ? std::string() : pattern.error();
}

std::string problem_of_body(std::string_view text) {
  if (text.empty()) return "it is empty: leave the key out";
  if (text.size() > kRespondBytesMax) return "it is longer than 64KiB";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f)
      return "it has a control character";
  }
  return {};
}

std::string problem_of_media_type(std::string_view text) {
  std::string wrong = problem_of_field_value(text);
  if (!wrong.empty()) return wrong;
  const std::string_view essence = ascii::trim_ows(text.substr(0, text.find(';')));
  const std::size_t slash = essence.find('/');
  const bool good = slash != std::string_view::npos && ascii::is_token(essence.substr(0, slash)) &&
                    ascii::is_token(essence.substr(slash + 1));
  return good ? "" : "a media type is a type, `/` and a subtype";
}

policy::AuthConfig public_route() {
  policy::AuthConfig auth;
  auth.none = true;
  return auth;
}

const Object<MatchConfig>& match_schema() {
  static const auto schema =
      Object<MatchConfig>("match",
                          "Which requests a route applies to. Only the most specific host pattern "
                          "that fits is used: the exact name, then the longest `*.` pattern, then "
                          "`*`. Its paths are then compared segment by segment: a literal has "
                          "priority over `{name}`, and `{name}` over `/**`.")
          .required("host", &MatchConfig::hosts,
                    config::one_or_list(config::located(judged("a host pattern", "api.example.com",
                                                               problem_of_host_pattern)),
                                        1, kHostsMax),
                    "One or several of: an exact name, `*.example.com` for one or more labels in "
                    "front, or `*`.")
          .required("path", &MatchConfig::path,
                    judged("a path pattern", "/api/v1/**", problem_of_path),
                    "An exact path, in which `{name}` stands for one segment that is not empty. A "
                    "final `/**` matches everything below the path before it, and that path too.");
  return schema;
}

/// The name of a claim that can stand in the name of a field.
std::string problem_of_forwarded_claim(std::string_view text) {
  for (const char c : text) {
    if (!ascii::is_alnum(c) && c != '-' && c != '_') {
      return "the claim becomes part of a field's name: letters, digits, `-` and `_`";
    }
  }
  return text.empty() || text.size() > 32 ? "it has 1 to 32 characters" : "";
}

const Object<RewriteConfig>& rewrite_schema() {
  static const auto prefix = [] { return judged("a path prefix", "/users", problem_of_prefix); };
  static const auto schema =
      Object<RewriteConfig>("rewrite",
                            "How the path changes on its way to the upstream. A Location in the "
                            "upstream's response is rewritten back.")
          .field("strip_prefix", &RewriteConfig::strip_prefix, prefix(),
                 "Leading segments to remove; every path of the route must start with them.")
          .field("add_prefix", &RewriteConfig::add_prefix, prefix(), "Segments to put in front.")
          .mark(&RewriteConfig::at)
          .check([](const RewriteConfig& rewrite, Reader& reader) {
            if (rewrite.strip_prefix.has_value() || rewrite.add_prefix.has_value()) return;
            reader.error(rewrite.at, "`rewrite` rewrites nothing",
                         "name `strip_prefix` or `add_prefix`, or leave it out");
          });
  return schema;
}

const Object<HeadersConfig>& headers_schema() {
  static const auto schema =
      Object<HeadersConfig>("headers",
                            "Changes to the header fields of responses. Fields of the baseline, of "
                            "framing and of the connection cannot be changed.")
          .field("set", &HeadersConfig::set,
                 config::map_of(field_name(),
                                config::located(judged("the value of a field", "no-store",
                                                       problem_of_field_value)),
                                1, kSetHeadersMax),
                 "Fields of every response of the route, in place of the upstream's. A 405 belongs "
                 "to no route, and refusals keep `Cache-Control: no-store`.")
          .field("remove", &HeadersConfig::remove,
                 config::list_of(config::located(field_name()), 1, kSetHeadersMax),
                 "Fields of the upstream's responses to remove.");
  return schema;
}

const Object<ForwardConfig>& forward_schema() {
  static const auto schema =
      Object<ForwardConfig>("forward", "What the upstream learns about the client.")
          .field("authorization", &ForwardConfig::authorization, config::boolean(),
                 "Whether the client's Authorization field is forwarded to the upstream.")
          .field("identity", &ForwardConfig::identity,
                 config::list_of(config::located(judged("the name of a claim", "sub",
                                                        problem_of_forwarded_claim)),
                                 1, kIdentityFieldsMax),
                 "Claims of the caller to send to the upstream, each as X-Merlon-Identity-NAME: "
                 "`sub`, `client_id`, `scope`, and any other claim of a token. Bytes that are not "
                 "visible ASCII, `%` and `,` are percent-encoded; the items of a list are "
                 "separated by commas. Nobody else can set these fields.")
          .field("client_cert", &ForwardConfig::client_cert, config::boolean(),
                 "Whether the client's certificate is sent to the upstream as Client-Cert (RFC "
                 "9440). Nobody else can set that field.")
          .mark(&ForwardConfig::at);
  return schema;
}

bool has_no_content(std::uint16_t status) {
  return status == 204 || status == 205 || status == 304;  // RFC 9110 §15.3.5, §15.3.6, §15.4.5
}

void check_respond(const RespondConfig& respond, Reader& reader) {
  if (respond.body.has_value() && has_no_content(*respond.status)) {
    reader.error(respond.body->at,
                 fmt::format("a response with status {} has no body", *respond.status));
  }
  if (respond.content_type.has_value() && !respond.body.has_value()) {
    reader.error(respond.content_type->at, "there is no `body` that has this type");
  }
}

const Object<RespondConfig>& respond_schema() {
  static const auto schema =
      Object<RespondConfig>("respond", "A fixed answer in place of an upstream.")
          .required("status", &RespondConfig::status, config::integer(200, 599), "Its status.")
          .field("body", &RespondConfig::body,
                 judged("text of up to 64KiB", "gone", problem_of_body), "Its body.")
          .field("content_type", &RespondConfig::content_type,
                 judged("a media type", "application/json", problem_of_media_type),
                 "The type of the body.")
          .absent("text/plain; charset=utf-8")
          .mark(&RespondConfig::at)
          .check(check_respond);
  return schema;
}

void check_target(const RouteConfig& route, Reader& reader) {
  if (route.upstream.has_value() == route.respond.has_value()) {
    reader.error(route.at, route.respond.has_value()
                               ? "a route has `upstream` or `respond`, not both"
                               : "a route needs `upstream` or `respond`");
  }
  if (!route.respond.has_value()) return;
  const auto inert = [&](const Mark& at, std::string_view key) {
    if (!at.known()) return;
    reader.error(at, fmt::format("`{}` changes nothing: this route answers by itself", key),
                 "remove it");
  };
  inert(route.rewrite.at, "rewrite");
  inert(route.forward.at, "forward");
  if (!route.headers.remove.empty()) inert(route.headers.remove.front().at, "headers.remove");
  const auto& websocket = policy::setting<policy::WebSocket>(route);
  if (websocket.has_value()) inert(websocket->at, "websocket");
}

}  // namespace

const Object<RouteConfig>& route_schema() {
  static const auto schema = [] {
    auto keys =
        Object<RouteConfig>("route", "One kind of request: what it must be and where it goes.")
            .required("name", &RouteConfig::name, config::name(), "Its name in logs and waivers.")
            .required("match", &RouteConfig::match, config::object(match_schema()),
                      "Which requests it applies to.")
            .required("methods", &RouteConfig::methods,
                      config::list_of(config::located(policy::method()), 1, kMethodsMax),
                      "The allowed methods; 405 for others. GET includes HEAD.")
            .required("auth", &RouteConfig::auth,
                      config::word_or<policy::AuthConfig>(
                          "none", public_route(), config::object(policy::auth_schema()),
                          [](const policy::AuthConfig& auth) { return auth.none; }),
                      "Who may use it. There is no default: write `none` for a public route.")
            .field("rewrite", &RouteConfig::rewrite, config::object(rewrite_schema()),
                   "How the path changes on its way to the upstream.")
            .field("headers", &RouteConfig::headers, config::object(headers_schema()),
                   "Changes to the header fields of responses.")
            .field("forward", &RouteConfig::forward, config::object(forward_schema()),
                   "What the upstream learns about the client.")
            .field("timeout", &RouteConfig::timeout,
                   config::waivable(config::duration(milliseconds{10}, kRouteTimeMax),
                                    config::duration(milliseconds{10}, hours{24}),
                                    "upstream-timeout-infinite"),
                   "Time for the request body and until the response head; after it 504, or 408 if "
                   "the request body has not arrived. The response body has no total limit: only "
                   "pauses in it are limited, by the upstream's `timeouts.idle`.")
            .field("upstream", &RouteConfig::upstream, config::name(), "The upstream that answers.")
            .field("respond", &RouteConfig::respond, config::object(respond_schema()),
                   "A fixed answer in place of an upstream.")
            .mark(&RouteConfig::at)
            .check(check_target);
    policy::add_keys(keys);
    return keys;
  }();
  return schema;
}

}  // namespace merlon::gateway
