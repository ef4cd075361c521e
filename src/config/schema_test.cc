#include "config/schema.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "config/test_schema.h"

namespace merlon::config::test {
namespace {

using namespace std::chrono_literals;

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
    {"bytes_low", "body: 1B", "1B", "the minimum is 1KiB", ""},
    {"bytes_high", "body: 9MiB", "9MiB", "the maximum is 8MiB", ""},
    {"bytes_signed", "body: -1MiB", "-1MiB", "does not start with a number", ""},
    {"bytes_long", "body: 00000000000000000000000000000000000000000000001B", "00000", "too long",
     ""},
    {"rate_zero", "rate_limit: { rate: 0/s }", "0/s", "a rate of zero", ""},
    {"rate_bare", "rate_limit: { rate: 10 }", "10 }", "not a rate", "`10/s`"},
    {"rate_high", "rate_limit: { rate: 1001/s }", "1001/s", "the maximum is 1000", ""},
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
    {"burst_high", "rate_limit: { rate: 1/s, burst: 1001 }", "1001", "the maximum is 1000", ""},
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
    {"endpoint_without_port", "endpoints: [10.0.0.1]", "10.0.0.1", "not valid as an address",
     "8443"},
    {"endpoint_port_zero", "endpoints: [10.0.0.1:0]", "10.0.0.1:0", "1 to 65535", ""},
    {"endpoint_null", "endpoints: [~]", "~", "found nothing", ""},
    {"endpoints_scalar", "endpoints: 10.0.0.1:80", "10.0.0.1:80", "expected a list", "["},
    {"endpoints_none", "endpoints: []", "[]", "at least 1 needed", ""},
    {"endpoint_weight", "endpoints: [{address: 10.0.0.1:80, weight: 0}]", "0}", "the minimum is 1",
     ""},
    {"endpoint_key", "endpoints: [{adress: 10.0.0.1:80, address: 10.0.0.2:80}]", "adress",
     "unknown key `adress`", "`address`"},
    {"word", "protocol: http2", "http2", "expected one of `http1`, `h2`", "did you mean"},
    {"word_unlike_any", "protocol: quic", "quic", "expected one of `http1`, `h2`", ""},
    {"later", "outlier: { a: b }", "outlier", "is not built into this version yet", "remove it"},
    {"duration_bare", "timeouts: { connect: 5 }", "5 }", "needs a unit", "`30s`"},
    {"duration_minutes", "timeouts: { connect: 5m }", "5m", "not a unit here", ""},
    {"duration_high", "timeouts: { connect: 31s }", "31s", "the maximum is 30s", ""},
    {"duration_beyond_any_waiver", "timeouts: { response: 11min }", "11min", "the maximum is 1min",
     ""},
    {"duration_waivable", "timeouts: { response: 2min }", "2min", "the maximum is 1min",
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

// Escape sequences in a file must not reach the terminal of whoever checks it.
TEST(Schema, MessagesHoldNoControlCharacters) {
  const std::string esc = R"("\e[2J\0")";
  for (const std::string& text :
       {esc + ": 1", esc + ": 1\n" + esc + ": 2", "version: " + esc, "include: [" + esc + "]",
        "trusted: [" + esc + "]", "upstreams: {" + esc + ": {protocol: " + esc + "}}",
        "routes: [{name: " + esc + ", auth: " + esc + ", websocket: " + esc + ", body: " + esc +
            ", hosts: " + esc + ", rate_limit: {rate: " + esc + "}}]",
        "waivers: [{rule: " + esc + ", on: " + esc + ", reason: " + esc + ", owner: " + esc +
            ", expires: " + esc + "}]",
        std::string("a: !%1b[2J b")}) {
    const Loaded l = load_config(text);
    EXPECT_FALSE(l.out.ok()) << text;
    for (const Diagnostic& d : l.out.all()) {
      for (const char c : d.message + d.help) {
        EXPECT_GE(static_cast<unsigned char>(c), 0x20) << text << d.message;
      }
    }
  }
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
}  // namespace merlon::config::test
