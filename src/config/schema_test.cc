#include "config/schema.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "config/waivers.h"

namespace merlon::config {
namespace {

using namespace std::chrono_literals;

enum class Protocol { kHttp1, kH2 };

struct Tls {
  FilePath ca;
  std::optional<std::string> server_name;
  Mark at;
};
const Object<Tls>& tls_schema() {
  static const auto schema =
      Object<Tls>("upstream tls", "How the upstream proves who it is.")
          .required("ca", &Tls::ca, file(), "Roots that are trusted.")
          .field("server_name", &Tls::server_name, text(1, 253), "The name to verify.")
          .mark(&Tls::at);
  return schema;
}

struct Target {
  Endpoint address;
  std::uint32_t weight = 1;
};
const Object<Target>& target_schema() {
  static const auto schema = Object<Target>("endpoint", "One server.")
                                 .required("address", &Target::address, endpoint(), "Where it is.")
                                 .field("weight", &Target::weight, integer(1, 100), "Its share.");
  return schema;
}
Type<Target> target() {
  return scalar_or<Target>(converted<Target, Endpoint>(
                               endpoint(), [](Endpoint e) { return Target{.address = e}; },
                               [](const Target& t) { return t.address; }),
                           object(target_schema()), [](const Target& t) { return t.weight == 1; });
}

struct Timeouts {
  milliseconds connect{2s};
  milliseconds response{15s};
};
const Object<Timeouts>& timeouts_schema() {
  static const auto schema =
      Object<Timeouts>("upstream timeouts", "How long to wait.")
          .field("connect", &Timeouts::connect, duration(10ms, 30s), "For a connection.")
          .field(
              "response", &Timeouts::response,
              waivable(duration(100ms, 60s), duration(100ms, 10min), "upstream-timeout-infinite"),
              "For the first byte.");
  return schema;
}

struct Upstream {
  std::vector<Target> endpoints;
  Protocol protocol = Protocol::kHttp1;
  std::optional<Tls> tls;
  Timeouts timeouts{.connect = 1s};
  Located<std::uint32_t> retry_budget{.value = 20, .at = {}};
  Mark at;
};
const Object<Upstream>& upstream_schema() {
  static const auto schema =
      Object<Upstream>("upstream", "A group of servers.")
          .required("endpoints", &Upstream::endpoints, list_of(target(), 1, 4), "Its servers.")
          .field("protocol", &Upstream::protocol,
                 words<Protocol>({{"http1", Protocol::kHttp1}, {"h2", Protocol::kH2}}),
                 "What it speaks.")
          .field("tls", &Upstream::tls, object(tls_schema()), "Encryption towards it.")
          .field("timeouts", &Upstream::timeouts, object(timeouts_schema()), "Patience.")
          .field("retry_budget", &Upstream::retry_budget, percent(), "Share of retries.")
          .later("outlier", "outlier detection")
          .mark(&Upstream::at)
          .check([](const Upstream& u, Reader& reader) {
            if (u.tls.has_value()) return;
            static_cast<void>(
                reader.require_waived("upstream-cleartext", u.at, "the upstream has no `tls`"));
          });
  return schema;
}

struct Limit {
  Rate rate;
  std::uint64_t burst = 0;
};
const Object<Limit>& limit_schema() {
  static const auto schema = Object<Limit>("rate limit", "How often.")
                                 .required("rate", &Limit::rate, rate(1000), "The rate.")
                                 .field("burst", &Limit::burst, integer(0, 1000), "Beyond it.");
  return schema;
}

struct Auth {
  bool none = false;
  std::string jwt;
};
const Object<Auth>& auth_schema() {
  static const auto schema =
      Object<Auth>("auth", "Who may.").required("jwt", &Auth::jwt, name(), "An issuer.");
  return schema;
}

struct Route {
  std::string name;
  Auth auth;
  std::vector<Limit> rate_limit;
  std::uint64_t body_bytes_max = 1024 * 1024;
  bool websocket = false;
  std::optional<Located<std::string>> upstream;
  std::vector<Located<std::string>> hosts;
  Mark at;
};
const Object<Route>& route_schema() {
  static const auto schema =
      Object<Route>("route", "What is forwarded.")
          .required("name", &Route::name, name(), "Its name.")
          .required("auth", &Route::auth,
                    word_or<Auth>("none", Auth{.none = true, .jwt = {}}, object(auth_schema()),
                                  [](const Auth& a) { return a.none; }),
                    "Who may use it.")
          .field("rate_limit", &Route::rate_limit, one_or_list(object(limit_schema()), 1, 3),
                 "Rates.")
          .field("body", &Route::body_bytes_max, bytes(1024, 8UL << 20U), "The largest | body.")
          .field("websocket", &Route::websocket, boolean(), "Upgrades.")
          .field("upstream", &Route::upstream, name(), "Where to.")
          .field("hosts", &Route::hosts, one_or_list(located(text(1, 20)), 1, 2), "For whom.")
          .mark(&Route::at)
          .check([](const Route& r, Diagnostics& out) {
            if (r.auth.none && r.websocket) out.error(r.at, "a public route has no websocket");
          });
  return schema;
}

struct Config {
  std::uint32_t version = 0;
  std::vector<Cidr> trusted;
  std::map<std::string, Upstream, std::less<>> upstreams;
  std::vector<Route> routes;
  std::optional<std::uint16_t> admin_port;
};
const Object<Config>& config_schema() {
  static const auto schema =
      Object<Config>("configuration", "The whole file.")
          .required("version", &Config::version, integer(1, 1), "Of the language.")
          .field("trusted", &Config::trusted, list_of(cidr(), 0, 3), "Proxies.")
          .field("upstreams", &Config::upstreams, map_of(name(), object(upstream_schema())),
                 "Servers.")
          .field("routes", &Config::routes, named_list(object(route_schema())), "Routes.")
          .field("admin_port", &Config::admin_port, port(), "Of the admin.")
          .read_apart("waivers", waiver_list(), "Exceptions.");
  return schema;
}

struct Loaded {
  Diagnostics out;
  std::shared_ptr<const Tree> tree;
  Waivers waivers;
  std::optional<Config> config;
};
Loaded load_config(const std::string& text, const std::string& directory = "/etc/merlon") {
  Loaded l;
  l.tree = load_text(directory + "/m.yaml", text, l.out);
  if (l.tree == nullptr) return l;
  l.waivers = Waivers::read(l.tree->root(), *parse_date("2027-01-01"), ExpiryMode::kRefuse, l.out);
  Reader reader(l.out, directory, &l.waivers);
  l.config = read(config_schema(), l.tree->root(), reader);
  return l;
}

constexpr const char* kGood = R"(version: 1
trusted: [10.0.0.0/8, "2001:db8::/32"]
upstreams:
  orders:
    endpoints: [10.0.0.1:80, {address: "[::1]:81", weight: 7}]
    protocol: h2
    tls: { ca: internal.pem }
    timeouts: { response: 2min }
    retry_budget: 10%
routes:
  - name: a
    auth: none
    rate_limit: { rate: 10/s, burst: 5 }
    body: 16KiB
    upstream: orders
    hosts: x.example
  - name: b
    auth: { jwt: staff }
    rate_limit: [{ rate: 1/s }, { rate: 100/h }]
    websocket: true
    hosts: [x.example, y.example]
admin_port: 9901
waivers:
  - { rule: upstream-timeout-infinite, on: upstreams.orders.timeouts.response,
      reason: reports take long, owner: ops@example.com, expires: 2027-03-01 }
)";

TEST(Schema, ReadsEveryForm) {
  const Loaded l = load_config(kGood);
  ASSERT_TRUE(l.config.has_value()) << l.out.render();
  EXPECT_TRUE(l.waivers.unused().empty());
  const Config& c = *l.config;
  EXPECT_EQ(c.version, 1U);
  EXPECT_EQ(c.trusted[1].to_string(), "2001:db8::/32");
  const Upstream& u = c.upstreams.at("orders");
  EXPECT_EQ(u.endpoints[0].address.port, 80);
  EXPECT_EQ(u.endpoints[0].weight, 1U);
  EXPECT_EQ(u.endpoints[1].weight, 7U);
  EXPECT_EQ(u.protocol, Protocol::kH2);
  EXPECT_EQ(u.tls->ca.written, "internal.pem");
  EXPECT_EQ(u.tls->ca.path, "/etc/merlon/internal.pem");
  EXPECT_EQ(u.timeouts.response, 2min);
  EXPECT_EQ(u.timeouts.connect, 1s);  // the default of the member, not of the struct
  EXPECT_EQ(*u.retry_budget, 10U);
  EXPECT_EQ(u.retry_budget.at.line, 9U);
  EXPECT_EQ(u.at.line, 5U);
  EXPECT_TRUE(c.routes[0].auth.none);
  EXPECT_EQ(c.routes[0].rate_limit.at(0).burst, 5U);
  EXPECT_EQ(c.routes[0].body_bytes_max, 16384U);
  EXPECT_EQ(c.routes[0].upstream->value, "orders");
  EXPECT_EQ(c.routes[1].rate_limit.size(), 2U);
  EXPECT_EQ(c.routes[1].hosts[1].at.to_string(), "/etc/merlon/m.yaml:21:24");
  EXPECT_EQ(c.admin_port, 9901);
}

/// One value in the place of `{}`, and what the error must say.
struct Wrong {
  const char* name;
  const char* key;   // a line of YAML with the mistake
  const char* at;    // what the caret stands at
  const char* says;  // part of the message
  const char* help;  // part of the help
};

// Each is put into an otherwise right route or upstream; every one must be reported, alone and all
// at once.
constexpr Wrong kRouteMistakes[] = {
    {"unknown_key", "websockets: true", "websockets", "unknown key `websockets`", "`websocket`"},
    {"unlike_any_key", "zzzzzzzz: 1", "zzzzzzzz", "unknown key", "`rate_limit`"},
    {"bool_yes", "websocket: yes", "yes", "expected `true` or `false`", "write `true`"},
    {"bool_off", "websocket: off", "off", "expected `true` or `false`", "write `false`"},
    {"bool_capital", "websocket: True", "True", "expected `true` or `false`", "write `true`"},
    {"bool_quoted", "websocket: 'true'", "'true'", "expected `true`", "without quotes"},
    {"bool_number", "websocket: 1", "1", "expected `true` or `false`", "write `true`"},
    {"bool_list", "websocket: [true]", "[true]", "found a list", "`true`"},
    {"null_word", "websocket: null", "null", "found nothing", "leave the key out"},
    {"null_tilde", "body: ~", "~", "found nothing", "leave the key out"},
    {"bytes_without_unit", "body: 1024", "1024", "needs a unit", "`8MiB`"},
    {"bytes_of_1000", "body: 10kB", "10kB", "not a unit here", ""},
    {"bytes_low", "body: 1B", "1B", "the least is 1KiB", ""},
    {"bytes_high", "body: 9MiB", "9MiB", "the most is 8MiB", ""},
    {"bytes_signed", "body: -1MiB", "-1MiB", "does not start with a number", ""},
    {"bytes_long", "body: 00000000000000000000000000000000000000000000001B", "00000", "too long",
     ""},
    {"rate_zero", "rate_limit: { rate: 0/s }", "0/s", "a rate of zero", ""},
    {"rate_bare", "rate_limit: { rate: 10 }", "10 }", "not a rate", "`10/s`"},
    {"rate_high", "rate_limit: { rate: 1001/s }", "1001/s", "the most is 1000", ""},
    {"rate_missing", "rate_limit: { burst: 1 }", "{ burst: 1 }", "needs the key `rate`",
     "`rate: 10/s`"},
    {"rate_text", "rate_limit: fast", "fast", "expected a mapping (rate limit)", "10/s"},
    {"rate_empty_list", "rate_limit: []", "[]", "at least 1 needed", ""},
    {"rate_long_list", "rate_limit: [{rate: 1/s}, {rate: 1/s}, {rate: 1/s}, {rate: 1/s}]", "[{rate",
     "at most 3 allowed", ""},
    {"burst_fraction", "rate_limit: { rate: 1/s, burst: 1.5 }", "1.5", "not a whole number", ""},
    {"burst_hex", "rate_limit: { rate: 1/s, burst: 0x10 }", "0x10", "not a whole number", ""},
    {"burst_octal", "rate_limit: { rate: 1/s, burst: 010 }", "010", "leading zero", ""},
    {"burst_signed", "rate_limit: { rate: 1/s, burst: +1 }", "+1", "not a whole number", ""},
    {"burst_high", "rate_limit: { rate: 1/s, burst: 1001 }", "1001", "the most is 1000", ""},
    {"burst_quoted", "rate_limit: { rate: 1/s, burst: '5' }", "'5'", "in quotes is not a number",
     ""},
    {"burst_huge", "rate_limit: { rate: 1/s, burst: 99999999999999999999 }", "999", "too large",
     ""},
    {"name_space", "upstream: two words", "two words", "made of letters", ""},
    {"name_empty", "upstream: ''", "''", "1 to 64 characters", ""},
    {"name_dot", "upstream: .hidden", ".hidden", "starts with", ""},
    {"text_long", "hosts: aaaaaaaaaaaaaaaaaaaaaaaaa", "aaaaa", "25 bytes, 20 are allowed", ""},
    {"text_control", "hosts: \"a\\tb\"", "\"a\\tb\"", "control character", ""},
    {"text_mapping", "hosts: [{a: b}]", "{a: b}", "found a mapping", ""},
};

constexpr Wrong kUpstreamMistakes[] = {
    {"endpoint_without_port", "endpoints: [10.0.0.1]", "10.0.0.1", "not right as an address",
     "8443"},
    {"endpoint_port_zero", "endpoints: [10.0.0.1:0]", "10.0.0.1:0", "1 to 65535", ""},
    {"endpoint_null", "endpoints: [~]", "~", "found nothing", ""},
    {"endpoints_scalar", "endpoints: 10.0.0.1:80", "10.0.0.1:80", "expected a list", "["},
    {"endpoints_none", "endpoints: []", "[]", "at least 1 needed", ""},
    {"endpoint_weight", "endpoints: [{address: 10.0.0.1:80, weight: 0}]", "0}", "the least is 1",
     ""},
    {"endpoint_key", "endpoints: [{adress: 10.0.0.1:80, address: 10.0.0.2:80}]", "adress",
     "unknown key `adress`", "`address`"},
    {"word", "protocol: http2", "http2", "expected one of `http1`, `h2`", "did you mean"},
    {"word_unlike_any", "protocol: quic", "quic", "expected one of `http1`, `h2`", ""},
    {"later", "outlier: { a: b }", "outlier", "is not built into this version yet", "remove it"},
    {"duration_bare", "timeouts: { connect: 5 }", "5 }", "needs a unit", "`30s`"},
    {"duration_minutes", "timeouts: { connect: 5m }", "5m", "not a unit here", ""},
    {"duration_high", "timeouts: { connect: 31s }", "31s", "the most is 30s", ""},
    {"duration_beyond_any_waiver", "timeouts: { response: 11min }", "11min", "the most is 1min",
     ""},
    {"duration_waivable", "timeouts: { response: 2min }", "2min", "the most is 1min",
     "rule: upstream-timeout-infinite, on: upstreams."},
    {"percent_bare", "retry_budget: 20", "20", "percent sign", ""},
    {"percent_high", "retry_budget: 101%", "101%", "above 100%", ""},
    {"tls_missing_ca", "tls: { server_name: a }", "{ server_name", "needs the key `ca`",
     "ca: file.pem"},
    {"tls_null", "tls:", "", "found nothing", ""},
    {"tls_true", "tls: true", "true", "expected a mapping (upstream tls)", ""},
    {"file_empty", "tls: { ca: '' }", "''", "1 to 4095 bytes", ""},
};

/// A file in which mistake number `only`, or every mistake, is made once.
struct Made {
  std::string text;
  std::vector<std::size_t> lines;  // 1-based line of each mistake
};
Made with_mistakes(std::optional<std::size_t> only) {
  Made made;
  made.text = "version: 1\nroutes:\n";
  std::size_t line = 2;
  std::size_t number = 0;
  for (const Wrong& wrong : kRouteMistakes) {
    if (!only || *only == number) {
      made.text += fmt::format("  - name: r{}\n    auth: none\n    {}\n", number, wrong.key);
      line += 3;
      made.lines.push_back(line);
    }
    ++number;
  }
  made.text += "  - { name: last, auth: none }\nupstreams:\n";
  line += 2;
  for (const Wrong& wrong : kUpstreamMistakes) {
    if (!only || *only == number) {
      const std::string_view key = wrong.key;
      made.text +=
          fmt::format("  u{}:\n{}{}    {}\n", number,
                      key.starts_with("endpoints") ? "" : "    endpoints: [127.0.0.1:80]\n",
                      key.starts_with("tls") ? "" : "    tls: { ca: c.pem }\n", key);
      line += 4U - (key.starts_with("endpoints") ? 1U : 0U) - (key.starts_with("tls") ? 1U : 0U);
      made.lines.push_back(line);
    }
    ++number;
  }
  made.text += "  last: { endpoints: [127.0.0.1:80], tls: { ca: c.pem } }\n";
  return made;
}

std::vector<Wrong> all_mistakes() {
  std::vector<Wrong> all(std::begin(kRouteMistakes), std::end(kRouteMistakes));
  all.insert(all.end(), std::begin(kUpstreamMistakes), std::end(kUpstreamMistakes));
  return all;
}

void expect_reported(const Diagnostic& error, const Wrong& wrong, std::size_t line,
                     const std::string& rendered) {
  EXPECT_EQ(error.at.line, line) << wrong.name << "\n" << rendered;
  EXPECT_NE(error.message.find(wrong.says), std::string::npos) << wrong.name << "\n" << rendered;
  EXPECT_NE(error.help.find(wrong.help), std::string::npos) << wrong.name << "\n" << rendered;
  const std::string_view text = error.at.source->line(error.at.line);
  EXPECT_TRUE(text.substr(error.at.column - 1).starts_with(wrong.at)) << wrong.name << rendered;
}

TEST(Schema, ReportsEachMistakeAtItsPlace) {
  const std::vector<Wrong> mistakes = all_mistakes();
  for (std::size_t i = 0; i < mistakes.size(); ++i) {
    const Made made = with_mistakes(i);
    const Loaded l = load_config(made.text);
    EXPECT_FALSE(l.config.has_value()) << mistakes[i].name;
    ASSERT_EQ(l.out.error_count(), 1U) << mistakes[i].name << "\n" << l.out.render();
    expect_reported(l.out.all()[0], mistakes[i], made.lines[0], l.out.render());
  }
}

TEST(Schema, ReportsAllMistakesAtOnce) {
  const std::vector<Wrong> mistakes = all_mistakes();
  const Made made = with_mistakes(std::nullopt);
  Loaded l = load_config(made.text);
  ASSERT_EQ(l.out.error_count(), mistakes.size()) << l.out.render();
  l.out.sort();
  for (std::size_t i = 0; i < mistakes.size(); ++i) {
    expect_reported(l.out.all()[i], mistakes[i], made.lines[i], "");
  }
}

TEST(Schema, ReportsAHundredMistakesOfOneFile) {
  std::string text = "version: 1\nroutes:\n";
  for (int i = 0; i < 50; ++i)
    text += fmt::format("  - name: r{}\n    bdy: 1KiB\n    body: 1\n", i);
  const Loaded l = load_config(text);
  EXPECT_EQ(l.out.error_count(), 150U);  // and `auth` is missing in each
}

TEST(Schema, StopsAfterAThousandErrors) {
  std::string text = "version: 1\nroutes:\n";
  for (int i = 0; i < 3000; ++i) text += fmt::format("  - name: r{}\n    bdy: 1KiB\n", i);
  const Loaded l = load_config(text);
  EXPECT_EQ(l.out.error_count(), 1001U);
  EXPECT_NE(l.out.all().back().message.find("too many errors"), std::string::npos);
}

TEST(Schema, RefusesTheSameNameTwiceNamingBoth) {
  const Loaded l =
      load_config("version: 1\nroutes:\n- {name: a, auth: none}\n- {name: a, auth: none}\n");
  ASSERT_EQ(l.out.error_count(), 1U) << l.out.render();
  EXPECT_EQ(l.out.all()[0].at.to_string(), "/etc/merlon/m.yaml:4:10");
  EXPECT_NE(l.out.all()[0].help.find("m.yaml:3:10"), std::string::npos);
}

TEST(Schema, RunsChecksOfWholeObjectsOnly) {
  EXPECT_EQ(
      load_config("version: 1\nroutes: [{name: a, auth: none, websocket: true}]").out.error_count(),
      1U);
  // With an unreadable key there is nothing sound to check.
  const Loaded l = load_config("version: 1\nroutes: [{name: a, auth: non, websocket: true}]");
  ASSERT_EQ(l.out.error_count(), 1U);
  EXPECT_NE(l.out.all()[0].message.find("expected `none`, or a mapping (auth)"), std::string::npos)
      << l.out.all()[0].message;
}

TEST(Schema, RootsThatAreNoMappingAreRefused) {
  for (const char* text : {"", "[]", "a", "---\n"}) {
    const Loaded l = load_config(text);
    EXPECT_FALSE(l.config.has_value()) << text;
    EXPECT_EQ(l.out.error_count(), 1U) << text;
  }
}

TEST(Schema, CutAtEveryByteNeverPassesUnnoticed) {
  const std::string text = kGood;
  for (std::size_t cut = 0; cut < text.size(); ++cut) {
    const Loaded l = load_config(text.substr(0, cut));
    EXPECT_EQ(l.config.has_value() && l.out.ok(), l.out.ok()) << cut;
    for (const Diagnostic& d : l.out.all()) EXPECT_TRUE(d.at.known()) << d.message;
  }
}

TEST(Schema, RulesAreWaivedAtTheirPlaceOnly) {
  const std::string base =
      "version: 1\nupstreams:\n  a: { endpoints: [10.0.0.1:80] }\n  b: { endpoints: [10.0.0.1:80] "
      "}\n"
      "waivers:\n  - { rule: upstream-cleartext, on: upstreams.a, reason: moves next month, "
      "owner: ops, expires: 2027-03-01 }\n";
  const Loaded l = load_config(base);
  ASSERT_EQ(l.out.error_count(), 1U) << l.out.render();
  const auto is_error = [](const Diagnostic& d) { return d.severity == Severity::kError; };
  const auto error = std::ranges::find_if(l.out.all(), is_error);
  EXPECT_EQ(error->rule, "upstream-cleartext");
  EXPECT_EQ(error->at.line, 4U);
  EXPECT_NE(error->help.find("on: upstreams.b"), std::string::npos) << error->help;
  EXPECT_TRUE(l.waivers.unused().empty());
}

// ---- Effective values ----

TEST(Effective, ListsEveryValueWithItsOrigin) {
  const Loaded l = load_config(kGood);
  ASSERT_TRUE(l.config.has_value()) << l.out.render();
  std::map<std::string, std::string> rows;
  for (const EffectiveRow& row : effective(config_schema(), *l.config, &l.tree->root())) {
    EXPECT_TRUE(rows.emplace(row.place, row.value + " @ " + row.origin()).second) << row.place;
  }
  const std::string file = " @ /etc/merlon/m.yaml:";
  EXPECT_EQ(rows["version"], "1" + file + "1");
  EXPECT_EQ(rows["upstreams.orders.protocol"], "h2" + file + "6");
  EXPECT_EQ(rows["upstreams.orders.endpoints.0"], "10.0.0.1:80" + file + "5");
  EXPECT_EQ(rows["upstreams.orders.endpoints.1.weight"], "7" + file + "5");
  EXPECT_EQ(rows["upstreams.orders.tls.server_name"], "not set @ default");
  EXPECT_EQ(rows["upstreams.orders.timeouts.connect"], "1s @ default");
  EXPECT_EQ(rows["upstreams.orders.timeouts.response"], "2min" + file + "8");
  EXPECT_EQ(rows["routes.a.auth"], "none" + file + "12");
  EXPECT_EQ(rows["routes.a.rate_limit.rate"], "10/s" + file + "13");
  EXPECT_EQ(rows["routes.b.rate_limit.1.rate"], "100/h" + file + "19");
  EXPECT_EQ(rows["routes.b.body"], "1MiB @ default");
  EXPECT_EQ(rows["routes.a.hosts"], "[x.example]" + file + "16");
  EXPECT_EQ(rows["trusted"], "[10.0.0.0/8, 2001:db8::/32]" + file + "2");
}

TEST(Effective, PlacesAreThoseThatWaiversName) {
  const Loaded l = load_config(kGood);
  for (const EffectiveRow& row : effective(config_schema(), *l.config, &l.tree->root())) {
    if (row.at.known()) {
      EXPECT_NE(resolve(l.tree->root(), row.place), nullptr) << row.place;
    }
  }
}

TEST(Effective, DefaultsComeFromTheStruct) {
  const auto rows = effective(route_schema(), Route{}, nullptr);
  ASSERT_FALSE(rows.empty());
  for (const EffectiveRow& row : rows) EXPECT_EQ(row.origin(), "default");
}

// ---- Documentation ----

TEST(JsonSchema, DescribesEveryKeyAndClosesEveryObject) {
  const auto schema = nlohmann::json::parse(json_schema(config_schema()));
  EXPECT_EQ(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
  EXPECT_EQ(schema["additionalProperties"], false);
  EXPECT_EQ(schema["required"], nlohmann::json::array({"version"}));
  EXPECT_TRUE(schema["properties"].contains("include"));
  EXPECT_TRUE(schema["properties"].contains("waivers"));
  for (const auto& [name, definition] : schema["$defs"].items()) {
    EXPECT_EQ(definition["additionalProperties"], false) << name;
    for (const auto& [key, property] : definition["properties"].items()) {
      EXPECT_FALSE(property["description"].get<std::string>().empty()) << name << "." << key;
    }
  }
  const auto& upstream = schema["$defs"]["upstream"]["properties"];
  EXPECT_FALSE(upstream.contains("outlier"));
  EXPECT_EQ(upstream["protocol"]["enum"], nlohmann::json::array({"http1", "h2"}));
  EXPECT_EQ(upstream["tls"]["$ref"], "#/$defs/upstream-tls");
  EXPECT_EQ(upstream["endpoints"]["minItems"], 1);
  EXPECT_EQ(schema["$defs"]["rate-limit"]["properties"]["burst"]["maximum"], 1000);
}

TEST(JsonSchema, NamesObjectsApartThatShareAName) {
  struct Inner {
    bool x = false;
  };
  static const auto one = Object<Inner>("tls", "One.").field("x", &Inner::x, boolean(), "X.");
  static const auto two = Object<Inner>("tls", "Two.").field("x", &Inner::x, boolean(), "X.");
  struct Outer {
    Inner a;
    Inner b;
  };
  const auto root = Object<Outer>("root", "Root.")
                        .field("a", &Outer::a, object(one), "A.")
                        .field("b", &Outer::b, object(two), "B.");
  const auto schema = nlohmann::json::parse(json_schema(root));
  EXPECT_EQ(schema["properties"]["a"]["$ref"], "#/$defs/tls");
  EXPECT_EQ(schema["properties"]["b"]["$ref"], "#/$defs/tls-2");
  EXPECT_EQ(schema["$defs"]["tls-2"]["description"], "Two.");
}

TEST(Reference, HasARowForEveryKeyWithItsDefault) {
  const std::string page = reference_markdown(config_schema());
  for (const char* part :
       {"## configuration", "## upstream tls", "| `version` |", "[upstream](#upstream)",
        "| `protocol` | one of `http1`, `h2` | `http1` | What it speaks. |",
        "| `body` | an amount of bytes from 1KiB to 8MiB | `1MiB` | The largest \\| body. |",
        "| `ca` | the name of a file | required | Roots that are trusted. |",
        "| `server_name` | text of up to 253 bytes | not set |", "`outlier` (outlier detection)",
        "| `include` |"}) {
    EXPECT_NE(page.find(part), std::string::npos) << part << "\n" << page;
  }
}

/// What the reference shows as an example must itself be accepted.
TEST(Types, AcceptTheirOwnExamples) {
  const auto accepts = [](const auto& type) {
    Diagnostics out;
    const auto tree = load_text("x", type.shape->example, out);
    typename std::decay_t<decltype(type)>::Value value{};
    Reader reader(out);
    return tree != nullptr && type.read(tree->root(), value, reader) && out.ok();
  };
  EXPECT_TRUE(accepts(name()));
  EXPECT_TRUE(accepts(boolean()));
  EXPECT_TRUE(accepts(integer(3, 9)));
  EXPECT_TRUE(accepts(bytes(1024, 1UL << 20U)));
  EXPECT_TRUE(accepts(duration(10ms, 30s)));
  EXPECT_TRUE(accepts(rate()));
  EXPECT_TRUE(accepts(percent()));
  EXPECT_TRUE(accepts(port()));
  EXPECT_TRUE(accepts(endpoint()));
  EXPECT_TRUE(accepts(ip_address()));
  EXPECT_TRUE(accepts(cidr()));
  EXPECT_TRUE(accepts(file()));
  EXPECT_TRUE(accepts(object(waiver_schema())));
  EXPECT_TRUE(accepts(list_of(object(limit_schema()), 1, 2)));
  EXPECT_TRUE(accepts(map_of(name(), object(tls_schema()))));
  EXPECT_TRUE(accepts(object(upstream_schema())) == false);  // violates upstream-cleartext
}

TEST(Types, RefuseANumberThatTheMemberCannotHold) {
  struct Small {
    std::uint8_t x = 0;
  };
  const auto schema =
      Object<Small>("small", "Small.").field("x", &Small::x, integer(0, 1000), "X.");
  Diagnostics out;
  const auto tree = load_text("x", "x: 256", out);
  Reader reader(out);
  EXPECT_FALSE(read(schema, tree->root(), reader).has_value());
  EXPECT_FALSE(out.ok());
}

}  // namespace
}  // namespace merlon::config
