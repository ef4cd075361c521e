#include "gateway/door.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <iterator>
#include <optional>

#include "base/ascii.h"
#include "base/escape.h"
#include "http/status.h"

namespace merlon::gateway {
namespace {

using http::FieldId;

// What names products, versions and inner structure. None of it is of use to a client.
constexpr FieldId kLeaks[] = {FieldId::kServer,
                              FieldId::kXPoweredBy,
                              FieldId::kXAspNetVersion,
                              FieldId::kXAspNetMvcVersion,
                              FieldId::kXRuntime,
                              FieldId::kXGenerator,
                              FieldId::kVia,
                              FieldId::kXEnvoyOther,
                              FieldId::kXMerlonOther};
// The same, of names that nothing else in Merlon knows. From the headers that the OWASP Secure
// Headers project lists to be removed, and what caches, frameworks and hosters add. Lower case,
// sorted. Server-Timing is not here: an application says it on purpose, for its own pages.
constexpr std::string_view kLeakNames[] = {"k-proxy-request",
                                           "liferay-portal",
                                           "microsoftsharepointteamservices",
                                           "oraclecommercecloud-version",
                                           "pega-host",
                                           "powered-by",
                                           "product",
                                           "sourcemap",
                                           "x-application-context",
                                           "x-backend",
                                           "x-backend-host",
                                           "x-backend-server",
                                           "x-backside-transport",
                                           "x-beserver",
                                           "x-cache",
                                           "x-cache-hits",
                                           "x-calculatedbetarget",
                                           "x-cf-powered-by",
                                           "x-cms",
                                           "x-cocoon-version",
                                           "x-content-encoded-by",
                                           "x-debug-token",
                                           "x-debug-token-link",
                                           "x-diaginfo",
                                           "x-dtagentid",
                                           "x-dthealthcheck",
                                           "x-dtinjectedservlet",
                                           "x-feserver",
                                           "x-framework",
                                           "x-generated-by",
                                           "x-jitsi-release",
                                           "x-joomla-version",
                                           "x-mod-pagespeed",
                                           "x-oneagent-js-injection",
                                           "x-owa-version",
                                           "x-page-speed",
                                           "x-php-version",
                                           "x-redirect-by",
                                           "x-ruxit-js-agent",
                                           "x-served-by",
                                           "x-server",
                                           "x-server-powered-by",
                                           "x-sourcefiles",
                                           "x-sourcemap",
                                           "x-turbo-charged-by",
                                           "x-umbraco-version",
                                           "x-upstream",
                                           "x-varnish"};
static_assert(std::ranges::is_sorted(kLeakNames));
constexpr std::size_t kLeakNameBytesMax =
    std::ranges::max(kLeakNames, {}, &std::string_view::size).size();
constexpr std::string_view kLeakFamilies[] = {"x-amz-cf-",    "x-drupal-",  "x-kubernetes-pf-",
                                              "x-litespeed-", "x-powered-", "x-varnish-"};
// Set below, so what the upstream said of them does not count.
constexpr FieldId kOwn[] = {FieldId::kXContentTypeOptions, FieldId::kXFrameOptions,
                            FieldId::kReferrerPolicy,      FieldId::kStrictTransportSecurity,
                            FieldId::kXRequestId,          FieldId::kXXssProtection};

// Those that the door adds last, Date among them, and a Location that was rewritten before.
constexpr std::size_t kDoorFields = 8;
static_assert(http::Fields::kReceivedMax + kSetHeadersMax + policy::ResponseFields::kCapacity +
                  kDoorFields <=
              http::Fields::kCapacity);

constexpr std::string_view kCsp = "default-src 'none'; frame-ancestors 'none'";

bool is_html(const http::Fields& fields) noexcept {
  const std::string_view type = fields.value(FieldId::kContentType);
  const std::string_view media = ascii::trim_ows(type.substr(0, type.find(';')));
  return ascii::iequals(media, "text/html") || ascii::iequals(media, "application/xhtml+xml");
}

/// Of a name that has no FieldId.
bool is_unknown_leak(std::string_view name) noexcept {
  std::array<char, kLeakNameBytesMax> buffer;
  const std::string_view head = name.substr(0, buffer.size());
  std::ranges::transform(head, buffer.begin(), ascii::lower);
  const std::string_view lower(buffer.data(), head.size());
  const bool listed = head.size() == name.size() && std::ranges::binary_search(kLeakNames, lower);
  return listed || std::ranges::any_of(kLeakFamilies, [&](std::string_view family) {
           return lower.starts_with(family);
         });
}

/// Fields that Merlon knows cost a look at a bit each, the few that it does not one search each.
void drop_leaks(http::Fields& fields) noexcept {
  for (const FieldId id : kLeaks) fields.drop(id);
  for (const http::Field& field : fields) {
    if (field.id == FieldId::kOther && is_unknown_leak(field.name)) fields.drop(field.name);
  }
}

/// Of the field of an upstream's trailers.
bool passes(const http::Field& line, const Route& route) noexcept {
  const auto is_one_of = [&](const auto& ids) {
    return std::ranges::find(ids, line.id) != std::end(ids);
  };
  const bool own = line.id == FieldId::kOther
                       ? is_unknown_leak(line.name)
                       : is_one_of(kLeaks) || is_one_of(kOwn) || is_one_of(kCorsFields) ||
                             line.id == FieldId::kAltSvc ||
                             line.id == FieldId::kContentSecurityPolicy;
  const auto is_name = [&](std::string_view name) { return ascii::iequals(name, line.name); };
  return !own && std::ranges::none_of(route.remove_headers, is_name) &&
         std::ranges::none_of(route.set_headers, is_name, &HeaderSetting::name);
}

/// True when a client would take the start of this path for a host: "//host", and what browsers
/// read so as well (WHATWG URL: a backslash is a slash, and tabs are nothing).
bool names_a_host(std::string_view path) noexcept {
  if (!path.starts_with('/')) return false;
  const std::size_t next = path.find_first_not_of('\t', 1);
  return next != std::string_view::npos && (path[next] == '/' || path[next] == '\\');
}

/// What an absolute Location names as its host, where that is `host`, port and all; the port of its
/// scheme may be left out on either side (RFC 9110 §4.2.3).
bool is_host(std::string_view named, std::string_view host, std::string_view port) noexcept {
  const auto without_port = [&](std::string_view authority) {
    return authority.ends_with(port) ? authority.substr(0, authority.size() - port.size())
                                     : authority;
  };
  return ascii::iequals(without_port(named), without_port(host));
}

/// The path, query and fragment of a Location at the upstream itself; nullopt when it leads
/// elsewhere. An absolute URL is the upstream's own when it names the host that was asked.
std::optional<std::string_view> own_place(std::string_view location, std::string_view host) {
  if (location.starts_with('/') && !location.starts_with("//")) return location;
  if (host.empty()) return std::nullopt;
  struct Start {
    std::string_view text;
    std::string_view port;
  };
  constexpr Start kStarts[] = {{"http://", ":80"}, {"https://", ":443"}, {"//", ""}};
  for (const auto& [text, port] : kStarts) {
    if (!ascii::iequals(location.substr(0, text.size()), text)) continue;
    location.remove_prefix(text.size());
    const std::size_t end = std::min(location.find_first_of("/?#"), location.size());
    if (!is_host(location.substr(0, end), host, port)) return std::nullopt;
    return end == location.size() ? std::string_view("/") : location.substr(end);
  }
  return std::nullopt;
}

}  // namespace

bool is_leak(std::string_view name) noexcept {
  FieldId id = http::field_id(name);
  if (id == FieldId::kOther) id = http::aliased_field(name);
  return std::ranges::find(kLeaks, id) != std::end(kLeaks) || is_unknown_leak(name);
}

bool dress(http::ResponseHead& head, const DoorFacts& facts) noexcept {
  http::Fields& fields = head.fields;
  drop_leaks(fields);
  for (const FieldId id : kOwn) fields.drop(id);
  // Cross-origin access is for `cors` to give, not for the upstream.
  for (const FieldId id : kCorsFields) fields.drop(id);
  // HTTP/3 and other places to go are not what was configured.
  fields.drop(FieldId::kAltSvc);
  const bool keep_csp = facts.route != nullptr && facts.route->html_csp_waived && is_html(fields);
  if (!keep_csp) fields.drop(FieldId::kContentSecurityPolicy);
  if (facts.route != nullptr) {
    for (const std::string& name : facts.route->remove_headers) fields.drop(std::string_view(name));
    for (const HeaderSetting& setting : facts.route->set_headers) {
      if (facts.refusal && ascii::iequals(setting.name, "Cache-Control")) continue;
      fields.drop(std::string_view(setting.name));
      fields.add(setting.name, setting.value);
    }
  }
  for (const http::Field& line : facts.policy_fields) {
    // Vary says what else the answer depends on: the upstream's reasons stay.
    if (line.id != FieldId::kVary) fields.drop(line.id);
  }
  for (const http::Field& line : facts.policy_fields) fields.add(line.name, line.value, line.id);
  fields.add("X-Content-Type-Options", "nosniff", FieldId::kXContentTypeOptions);
  fields.add("X-Frame-Options", "DENY", FieldId::kXFrameOptions);
  if (!keep_csp) fields.add("Content-Security-Policy", kCsp, FieldId::kContentSecurityPolicy);
  fields.add("Referrer-Policy", "no-referrer", FieldId::kReferrerPolicy);
  if (facts.secure)
    fields.add("Strict-Transport-Security", "max-age=31536000; includeSubDomains",
               FieldId::kStrictTransportSecurity);
  fields.add("X-Request-Id", facts.request_id, FieldId::kXRequestId);
  if (!fields.contains(FieldId::kDate)) fields.add("Date", facts.date, FieldId::kDate);
  return keep_csp;
}

void dress_trailers(std::span<const http::Field>& trailers, const Route& route,
                    std::vector<http::Field>& kept) {
  const auto is_kept_in = [&](const http::Field& line) { return !passes(line, route); };
  if (std::ranges::none_of(trailers, is_kept_in)) return;
  kept.clear();
  std::ranges::remove_copy_if(trailers, std::back_inserter(kept), is_kept_in);
  trailers = kept;
}

void make_problem(http::ResponseHead& head, std::string& body, unsigned status,
                  std::string_view request_id, std::string_view pointer) {
  // Put together by hand: under a flood a format string was a seventh of the instructions.
  const fmt::format_int digits(status);
  body.assign(R"({"status":)").append(digits.data(), digits.size());
  body.append(R"(,"title":")").append(http::reason_phrase(status));
  body.append(R"(","request_id":")").append(request_id).append(1, '"');
  if (!pointer.empty()) body.append(R"(,"pointer":)").append(json_quoted(pointer));
  body.append(1, '}');
  head.status = static_cast<std::uint16_t>(status);
  head.fields.clear();
  head.fields.add("Content-Type", "application/problem+json", FieldId::kContentType);
  head.fields.add("Cache-Control", "no-store", FieldId::kCacheControl);
  head.framing = http::Framing::kLength;
  head.content_length = body.size();
  head.has_content_length = true;
}

std::string rewritten_location(const Route& route, std::string_view location,
                               std::string_view upstream_host) {
  if (route.strip_prefix.empty() && route.add_prefix.empty()) return {};
  const std::optional<std::string_view> own = own_place(location, upstream_host);
  if (!own || !own->starts_with(route.add_prefix)) return {};
  const std::string_view rest = own->substr(route.add_prefix.size());
  if (!route.add_prefix.empty() && !rest.empty() && rest.front() != '/' && rest.front() != '?' &&
      rest.front() != '#')
    return {};
  std::string result = route.strip_prefix;
  // Of an empty path, RFC 3986 §5.2.2 would have the client keep its own.
  if (result.empty() && !rest.starts_with('/')) result = "/";
  if (result.empty() && names_a_host(rest)) result = "/.";
  result += rest;
  return result;
}

std::string_view upstream_path(const Route& route, std::string_view path, std::string& out) {
  if (route.strip_prefix.empty() && route.add_prefix.empty()) return path;
  std::string_view rest = path;
  // At a segment boundary only: /api must not be cut off /apis.
  if (!route.strip_prefix.empty() && rest.starts_with(route.strip_prefix)) {
    const std::string_view after = rest.substr(route.strip_prefix.size());
    if (after.empty() || after.front() == '/') rest = after;
  }
  out = route.add_prefix;
  out += rest;
  if (out.empty()) out = "/";
  return out;
}

void write_http_date(WallTime at, char* out) noexcept {
  static constexpr std::array<std::string_view, 7> kDays = {"Sun", "Mon", "Tue", "Wed",
                                                            "Thu", "Fri", "Sat"};
  static constexpr std::array<std::string_view, 12> kMonths = {
      "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const auto second = std::chrono::floor<seconds>(at);
  const auto day = std::chrono::floor<std::chrono::days>(second);
  const std::chrono::year_month_day date{day};
  const std::chrono::hh_mm_ss time{second - day};
  fmt::format_to_n(out, kHttpDateBytes, "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
                   kDays[std::chrono::weekday{day}.c_encoding()], static_cast<unsigned>(date.day()),
                   kMonths[static_cast<unsigned>(date.month()) - 1], static_cast<int>(date.year()),
                   time.hours().count(), time.minutes().count(), time.seconds().count());
}

}  // namespace merlon::gateway
