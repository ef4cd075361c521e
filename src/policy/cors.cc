#include "policy/cors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <set>
#include <span>

#include "base/ascii.h"
#include "config/shown.h"
#include "config/waivers.h"
#include "http/host.h"
#include "policy/origin.h"
#include "policy/value_types.h"

namespace merlon::policy {
namespace {

using config::shown;
using http::FieldId;

constexpr std::size_t kOriginsMax = 1024;
constexpr std::size_t kNamesMax = 64;
// More than any page sends; a longer list is work for nothing.
constexpr std::size_t kRequestedHeadersMax = 100;
constexpr std::string_view kWildcard = "*";
constexpr std::string_view kNull = "null";
constexpr std::string_view kPreflightVary =
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";

bool lists(std::span<const std::string> sorted, std::string_view text) noexcept {
  return std::ranges::binary_search(sorted, text, std::less<>{});
}

class CorsJudge final : public Policy {
 public:
  CorsJudge(const CorsConfig& config, std::span<const std::string> route_methods,
            std::optional<std::size_t> wildcard_waiver)
      : at_(config.at),
        origins_at_(config.origins.at),
        methods_at_(config.methods.is_default() ? config.at : config.methods.at),
        headers_at_(config.headers.is_default() ? config.at : config.headers.at),
        credentials_(*config.credentials),
        wildcard_waiver_(wildcard_waiver) {
    for (const auto& origin : *config.origins) origins_.push_back(*origin);
    any_ = std::ranges::find(origins_, kWildcard) != origins_.end();
    std::ranges::sort(origins_);
    for (const auto& method : *config.methods) methods_.push_back(*method);
    if (methods_.empty()) methods_.assign(route_methods.begin(), route_methods.end());
    for (const auto& name : *config.headers) headers_.push_back(*name);
    methods_text_ = fmt::format("{}", fmt::join(methods_, ", "));
    headers_text_ = fmt::format("{}", fmt::join(headers_, ", "));
    for (const auto& name : config.expose)
      expose_text_ += (expose_text_.empty() ? "" : ", ") + *name;
    if (config.max_age.has_value())
      max_age_text_ = fmt::format("{}", std::chrono::floor<seconds>(**config.max_age).count());
  }

  [[nodiscard]] std::string_view name() const noexcept override { return Cors::kKey; }
  [[nodiscard]] Step step() const noexcept override { return Cors::kStep; }
  [[nodiscard]] const Mark& at() const noexcept override { return at_; }

  [[nodiscard]] Decision check(Context& context) const noexcept override {
    const http::Field* field = context.head.fields.find(FieldId::kOrigin);
    // What another origin would have been told differs: caches must know, even of refusals.
    static_cast<void>(
        context.fields.add("Vary", context.preflight ? kPreflightVary : "Origin", FieldId::kVary));
    if (field == nullptr) return Decision::next();
    const std::string_view origin = field->value;
    // Whatever others may do: browsers send Origin with a page's own requests, too.
    if (!context.preflight && is_own_origin(origin, context)) return Decision::next();
    if (!allows(origin))
      return refuse(code::kForeignOrigin, "the origin is not listed", origins_at_);
    return context.preflight ? answer(context, origin) : admit(context, origin);
  }

 private:
  [[nodiscard]] bool allows(std::string_view origin) const noexcept {
    if (origin == kNull) return false;
    return any_ || lists(origins_, origin);
  }

  [[nodiscard]] static Decision refuse(std::uint16_t code, const char* what,
                                       const Mark& line) noexcept {
    return Decision::refuse({.status = 403,
                             .error = {.code = code, .blame = Blame::kClient, .what = what},
                             .step = Cors::kKey,
                             .line = &line});
  }

  [[nodiscard]] bool lists_method(std::string_view method) const noexcept {
    return std::ranges::any_of(methods_, [&](const std::string& listed) {
      return listed == method || (listed == "GET" && method == "HEAD");
    });
  }

  /// A name that is not listed, or too many names.
  [[nodiscard]] bool lists_all_headers(std::string_view names) const noexcept {
    for (std::size_t count = 0; !names.empty(); ++count) {
      if (count == kRequestedHeadersMax) return false;
      const std::size_t comma = names.find(',');
      const std::string_view name = ascii::trim_ows(names.substr(0, comma));
      names = comma == std::string_view::npos ? std::string_view{} : names.substr(comma + 1);
      const bool listed = std::ranges::any_of(
          headers_, [&](const std::string& allowed) { return ascii::iequals(allowed, name); });
      if (!listed && !name.empty()) return false;
    }
    return true;
  }

  void add_origin(Context& context, std::string_view origin) const noexcept {
    ResponseFields& fields = context.fields;
    if (wildcard_waiver_) context.observations.used(*wildcard_waiver_);
    static_cast<void>(fields.add_copy("Access-Control-Allow-Origin", any_ ? kWildcard : origin,
                                      FieldId::kAccessControlAllowOrigin));
    if (credentials_) {
      static_cast<void>(fields.add("Access-Control-Allow-Credentials", "true",
                                   FieldId::kAccessControlAllowCredentials));
    }
  }

  /// A request from a page of an allowed origin.
  [[nodiscard]] Decision admit(Context& context, std::string_view origin) const noexcept {
    // Some methods need no preflight: what is not open to other origins ends here.
    if (!lists_method(context.head.method_text))
      return refuse(code::kCorsMethod, "the method is not open to other origins", methods_at_);
    add_origin(context, origin);
    if (!expose_text_.empty()) {
      static_cast<void>(context.fields.add("Access-Control-Expose-Headers", expose_text_,
                                           FieldId::kAccessControlExposeHeaders));
    }
    return Decision::next();
  }

  [[nodiscard]] Decision answer(Context& context, std::string_view origin) const noexcept {
    const http::Fields& asked = context.head.fields;
    if (!lists_method(asked.value(FieldId::kAccessControlRequestMethod)))
      return refuse(code::kCorsMethod, "the requested method is not open to other origins",
                    methods_at_);
    const std::string_view headers = asked.value(FieldId::kAccessControlRequestHeaders);
    if (!lists_all_headers(headers))
      return refuse(code::kCorsHeader, "a requested header is not open to other origins",
                    headers_at_);
    add_origin(context, origin);
    ResponseFields& fields = context.fields;
    static_cast<void>(fields.add("Access-Control-Allow-Methods", methods_text_,
                                 FieldId::kAccessControlAllowMethods));
    if (!headers.empty()) {
      static_cast<void>(fields.add("Access-Control-Allow-Headers", headers_text_,
                                   FieldId::kAccessControlAllowHeaders));
    }
    if (!max_age_text_.empty()) {
      static_cast<void>(
          fields.add("Access-Control-Max-Age", max_age_text_, FieldId::kAccessControlMaxAge));
    }
    return Decision::answer(204);
  }

  const Mark at_;
  const Mark origins_at_;
  const Mark methods_at_;
  const Mark headers_at_;
  const bool credentials_;
  const std::optional<std::size_t> wildcard_waiver_;  ///< by index
  bool any_ = false;
  std::vector<std::string> origins_;  ///< sorted
  std::vector<std::string> methods_;
  std::vector<std::string> headers_;
  std::string methods_text_;
  std::string headers_text_;
  std::string expose_text_;
  std::string max_age_text_;
};

const config::Object<CorsConfig>& schema() {
  const auto names = [] { return config::list_of(config::located(field_name()), 1, kNamesMax); };
  static const auto schema =
      config::Object<CorsConfig>(
          "cors",
          "Which pages of other origins may use a route. The gateway answers preflights itself, "
          "before authentication. A request from an origin that is not listed gets 403; one from "
          "the route's own origin is an ordinary request. The upstream's CORS fields never reach "
          "clients.")
          .required("origins", &CorsConfig::origins,
                    config::list_of(config::located(judged("an origin", "https://app.example.com",
                                                           problem_of_origin)),
                                    1, kOriginsMax),
                    "Exact origins as browsers write them: scheme, host, and the port unless it is "
                    "the scheme's default. `*` needs a waiver of `cors-wildcard-credentials`; "
                    "`null` is refused.")
          .field("methods", &CorsConfig::methods,
                 config::list_of(config::located(method()), 1, kNamesMax),
                 "Which of the route's methods these pages may use; by default all.")
          .field(
              "headers", &CorsConfig::headers, names(),
              "Request fields that these pages may send, besides those that every page may send.")
          .field(
              "expose", &CorsConfig::expose, names(),
              "Response fields that these pages may read, besides those that every page may read.")
          .field("credentials", &CorsConfig::credentials, config::boolean(),
                 "Whether browsers send cookies and client certificates with these requests.")
          .field("max_age", &CorsConfig::max_age,
                 config::where<milliseconds>(config::duration(seconds{1}, std::chrono::hours{24}),
                                             [](const milliseconds& value) {
                                               return value.count() % 1000 == 0
                                                          ? ""
                                                          : "it is counted in whole seconds";
                                             }),
                 "How long browsers may cache the answer to a preflight. Whole seconds.")
          .absent("the browser's own few seconds")
          .mark(&CorsConfig::at);
  return schema;
}

/// What scripts can never set, whatever a server lets them (Fetch §2.2.2), in lower case, sorted;
/// and how other such names begin.
constexpr std::string_view kForbiddenNames[] = {"accept-charset",
                                                "accept-encoding",
                                                "access-control-request-headers",
                                                "access-control-request-method",
                                                "connection",
                                                "content-length",
                                                "cookie",
                                                "cookie2",
                                                "date",
                                                "dnt",
                                                "expect",
                                                "host",
                                                "keep-alive",
                                                "origin",
                                                "referer",
                                                "set-cookie",
                                                "te",
                                                "trailer",
                                                "transfer-encoding",
                                                "upgrade",
                                                "via"};
static_assert(std::ranges::is_sorted(kForbiddenNames));
constexpr std::string_view kForbiddenFamilies[] = {"proxy-", "sec-"};
/// What no script can read.
constexpr std::string_view kUnreadableNames[] = {"set-cookie", "set-cookie2"};

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), ascii::lower);
  return out;
}

void judge_unreachable(const CorsConfig& config, CompileInput& input) {
  for (const auto& name : *config.headers) {
    const std::string known = lower(*name);
    const bool forbidden = std::ranges::binary_search(kForbiddenNames, known) ||
                           std::ranges::any_of(kForbiddenFamilies, [&](std::string_view family) {
                             return known.starts_with(family);
                           });
    if (!forbidden) continue;
    input.reader.error(
        name.at, fmt::format("no page can set {}: browsers keep it to themselves", shown(*name)),
        "remove it");
  }
  for (const auto& name : config.expose) {
    if (std::ranges::find(kUnreadableNames, lower(*name)) == std::end(kUnreadableNames)) continue;
    input.reader.error(
        name.at, fmt::format("no page can read {}: browsers keep it to themselves", shown(*name)),
        "remove it");
  }
}

void judge_twice(const std::vector<Located<std::string>>& values, std::string_view what,
                 CompileInput& input) {
  const auto less = [](const std::string& a, const std::string& b) {
    return std::ranges::lexicographical_compare(
        a, b, [](char x, char y) { return ascii::lower(x) < ascii::lower(y); });
  };
  std::set<std::string, decltype(less)> seen(less);
  for (const auto& value : values) {
    if (seen.insert(*value).second) continue;
    input.reader.error(value.at, fmt::format("the {} {} is given twice", what, shown(*value)),
                       "remove one");
  }
}

void judge_origins(const CorsConfig& config, CompileInput& input) {
  const config::Reader::Step step(input.reader, "origins");
  judge_twice(*config.origins, "origin", input);
  for (const auto& origin : *config.origins) {
    if (*origin == kNull) {
      config::refuse_always(input.reader.diagnostics(), "cors-null-origin", origin.at,
                            "`null` is the origin of everything that hides where it comes from");
    }
    if (*origin != kWildcard) continue;
    if (*config.credentials) {
      config::refuse_always(input.reader.diagnostics(), "cors-wildcard-credentials", origin.at,
                            "`*` with `credentials` would let every page act as its visitor");
    } else {
      static_cast<void>(input.reader.require_waived("cors-wildcard-credentials", origin.at,
                                                    "every page of the web may use this route"));
    }
    if (config.origins->size() > 1) {
      input.reader.error(origin.at, "`*` stands for every origin, so the others change nothing",
                         "list exact origins, without `*`");
    }
  }
}

void judge_names(const CorsConfig& config, CompileInput& input) {
  judge_twice(*config.methods, "method", input);
  judge_twice(*config.headers, "field", input);
  judge_twice(config.expose, "field", input);
  const auto no_wildcard = [&](const std::vector<Located<std::string>>& names) {
    for (const auto& name : names) {
      if (*name != kWildcard) continue;
      input.reader.error(name.at, "`*` would allow every field, including future ones",
                         "name the fields");
    }
  };
  no_wildcard(*config.headers);
  no_wildcard(config.expose);
  for (const auto& method : *config.methods) {
    const bool known = std::ranges::any_of(input.methods, [&](const std::string& listed) {
      return listed == *method || (listed == "GET" && *method == "HEAD");
    });
    if (known) continue;
    input.reader.error(method.at, fmt::format("the route does not list the method {}", *method),
                       "add it to `methods` of the route, or remove it here");
  }
}

/// The reader stands at `cors`.
std::optional<std::size_t> wildcard_waiver(CompileInput& input) {
  config::Waivers* const waivers = input.reader.waivers();
  if (waivers == nullptr) return std::nullopt;
  const config::Reader::Step step(input.reader, "origins");
  return waivers->counter("cors-wildcard-credentials", input.reader.place());
}

}  // namespace

std::string problem_of_origin(std::string_view text) {
  if (text == kWildcard || text == kNull) return {};
  const std::size_t end = text.find("://");
  const std::string_view scheme = text.substr(0, end);
  if (end == std::string_view::npos || (scheme != "https" && scheme != "http"))
    return "an origin begins with `https://` or `http://`";
  const std::string_view authority = text.substr(end + 3);
  if (authority.find('/') != std::string_view::npos)
    return "an origin ends with its host or port: no path, no final slash";
  if (authority.find('*') != std::string_view::npos)
    return "origins are exact: list each, since a pattern would also allow names that do not exist "
           "yet";
  std::array<char, http::kHostBytesMax> scratch;
  const auto host = http::canonical_host(authority, scratch);
  if (!host) return host.error().what;
  if (host->port == default_port(scheme))
    return fmt::format("browsers leave out the port {} of {}", host->port, scheme);
  const bool v6 = host->address && host->address->is_v6();
  const std::string canonical = fmt::format("{}{}{}{}", v6 ? "[" : "", host->name, v6 ? "]" : "",
                                            host->port == 0 ? "" : fmt::format(":{}", host->port));
  return canonical == authority ? ""
                                : fmt::format("browsers write it `{}://{}`", scheme, canonical);
}

config::Type<CorsConfig> Cors::type() { return config::object(schema()); }

void Cors::compile(const Member& config, CompileInput& input, Judges& out) {
  if (!config.has_value()) return;
  judge_origins(*config, input);
  judge_names(*config, input);
  judge_unreachable(*config, input);
  out.push_back(std::make_unique<CorsJudge>(*config, input.methods, wildcard_waiver(input)));
}

}  // namespace merlon::policy
