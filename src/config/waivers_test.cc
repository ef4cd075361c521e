#include "config/waivers.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "config/catalogue.h"

namespace merlon::config {
namespace {

const Date kToday = *parse_date("2027-01-01");

struct Read {
  Diagnostics out;
  Waivers waivers;
};
Read read_text(const std::string& text, ExpiryMode mode = ExpiryMode::kRefuse,
               Date today = kToday) {
  Read r;
  const auto tree = load_text("m.yaml", text, r.out);
  if (tree != nullptr) r.waivers = Waivers::read(tree->root(), today, mode, r.out);
  return r;
}

constexpr std::string_view kPlaces =
    "upstreams: {a: {x: 1}, b: {x: 1}}\nroutes: [{name: r, rate_limit: {rate: 1/s}}]\nwaivers:\n";

std::string waiver(std::string_view rule, std::string_view on, std::string_view expires,
                   std::string_view reason = "moves next month", std::string_view owner = "ops") {
  return fmt::format("  - {{ rule: {}, on: {}, reason: \"{}\", owner: \"{}\", expires: {} }}\n",
                     rule, on, reason, owner, expires);
}

TEST(Date, IsADayOfTheCalendar) {
  EXPECT_EQ(format_date(*parse_date("2028-02-29")), "2028-02-29");
  for (const char* bad : {"2027-02-29", "2027-13-01", "2027-00-10", "2027-1-1", "27-01-01", "",
                          "2027/01/01", "2027-01-32", "2027-01-01T", "+027-01-01", "tomorrow"}) {
    EXPECT_FALSE(parse_date(bad).has_value()) << bad;
  }
}

TEST(Waivers, AllowExactlyWhatTheyName) {
  Read r =
      read_text(std::string(kPlaces) + waiver("upstream-cleartext", "upstreams.a", "2027-05-01"));
  ASSERT_TRUE(r.out.ok()) << r.out.render();
  EXPECT_FALSE(r.waivers.allows("upstream-cleartext", "upstreams.b"));
  EXPECT_FALSE(r.waivers.allows("upstream-cleartext", "upstreams"));
  EXPECT_FALSE(r.waivers.allows("upstream-cleartext", "upstreams.a.x"));
  EXPECT_FALSE(r.waivers.allows("tls-aes128", "upstreams.a"));
  EXPECT_EQ(r.waivers.unused().size(), 1U);
  EXPECT_TRUE(r.waivers.allows("upstream-cleartext", "upstreams.a"));
  EXPECT_TRUE(r.waivers.unused().empty());
}

struct Mistake {
  const char* name;
  std::string waiver;
  const char* says;
};
const Mistake kMistakes[] = {
    {"unknown_rule", waiver("upstream-clear-text", "upstreams.a", "2027-02-01"),
     "did you mean `upstream-cleartext`"},
    {"unknown_place", waiver("upstream-cleartext", "upstreams.c", "2027-02-01"),
     "there is nothing at"},
    {"short_reason", waiver("upstream-cleartext", "upstreams.a", "2027-02-01", "later"),
     "at least 10 characters"},
    {"blank_reason", waiver("upstream-cleartext", "upstreams.a", "2027-02-01", "              x"),
     "at least 10 characters"},
    {"owner_without_domain",
     waiver("tls-aes128", "upstreams.a", "2027-02-01", "moves next month", "a@b"),
     "no e-mail address"},
    {"owner_of_two_addresses",
     waiver("tls-aes128", "upstreams.a", "2027-02-01", "moves next month", "a@b@c.example"),
     "no e-mail address"},
    {"owner_blank", waiver("tls-aes128", "upstreams.a", "2027-02-01", "moves next month", "  "),
     "neither"},
    {"no_such_day", waiver("upstream-cleartext", "upstreams.a", "2027-02-30"),
     "day of the calendar"},
    {"expired", waiver("upstream-cleartext", "upstreams.a", "2026-12-31"), "expired on 2026-12-31"},
    {"too_long", waiver("upstream-cleartext", "upstreams.a", "2027-07-01"), "lasts 181 days, 180"},
    {"observed_too_long", waiver("policy-observed", "routes.r.rate_limit", "2027-02-01"),
     "lasts 31 days, 30"},
    {"twice",
     waiver("tls-aes128", "upstreams.a", "2027-04-01") +
         waiver("tls-aes128", "upstreams.a", "2027-05-01"),
     "given twice"},
    {"missing_key",
     "  - { rule: tls-aes128, on: upstreams.a, reason: moves next month, owner: ops }\n",
     "needs the key `expires`"},
    {"not_a_mapping", "  - tls-aes128\n", "expected a mapping (waiver)"},
};

class WaiverMistake : public testing::TestWithParam<Mistake> {};
TEST_P(WaiverMistake, IsAnError) {
  const Read r = read_text(std::string(kPlaces) + GetParam().waiver);
  ASSERT_EQ(r.out.error_count(), 1U) << r.out.render();
  EXPECT_NE(r.out.all().front().message.find(GetParam().says), std::string::npos) << r.out.render();
  EXPECT_GE(r.out.all().front().at.line, 4U);
}
INSTANTIATE_TEST_SUITE_P(Waivers, WaiverMistake, testing::ValuesIn(kMistakes),
                         [](const auto& test) { return test.param.name; });

TEST(Waivers, HoldOnTheirLastDay) {
  EXPECT_TRUE(
      read_text(std::string(kPlaces) + waiver("tls-aes128", "upstreams.a", "2027-01-01")).out.ok());
  EXPECT_TRUE(
      read_text(std::string(kPlaces) + waiver("tls-aes128", "upstreams.a", "2027-06-30")).out.ok());
  EXPECT_TRUE(read_text(std::string(kPlaces) +
                        waiver("policy-observed", "routes.r.rate_limit", "2027-01-31"))
                  .out.ok());
}

// A date must never stop a start: neither one that passed, nor a clock that says 1970 after boot.
TEST(Waivers, NeverStopARestart) {
  const std::string text =
      std::string(kPlaces) + waiver("upstream-cleartext", "upstreams.a", "2026-12-31");
  for (const Date today : {kToday, *parse_date("1970-01-01"), *parse_date("2099-01-01")}) {
    Read r = read_text(text, ExpiryMode::kWarn, today);
    EXPECT_TRUE(r.out.ok()) << r.out.render();
    EXPECT_EQ(r.out.all().size(), 1U);
    EXPECT_TRUE(r.waivers.allows("upstream-cleartext", "upstreams.a"));
  }
  EXPECT_TRUE(read_text(text, ExpiryMode::kWarn).waivers.all().at(0).expired(kToday));
}

TEST(Waivers, OfTheLongestLifeOutliveAClockThatIsADayOrTwoBehind) {
  const std::string text =
      std::string(kPlaces) + waiver("upstream-cleartext", "upstreams.a", "2027-07-02");
  EXPECT_TRUE(read_text(text, ExpiryMode::kWarn, kToday).out.ok());
  EXPECT_FALSE(read_text(text, ExpiryMode::kRefuse, kToday).out.ok()) << "check is exact";
}

// A year of exception is no exception, and no restart makes it one.
TEST(Waivers, ThatLastTooLongStopARestartUnlessTheClockWasNeverSet) {
  const std::string text =
      std::string(kPlaces) + waiver("upstream-cleartext", "upstreams.a", "2027-07-03");
  EXPECT_EQ(read_text(text, ExpiryMode::kWarn, kToday).out.error_count(), 1U);
  EXPECT_TRUE(read_text(text, ExpiryMode::kWarn, *parse_date("2000-01-01")).out.ok());
  EXPECT_TRUE(read_text(text, ExpiryMode::kWarn, *parse_date("2027-01-02")).out.ok());
}

TEST(Waivers, WarnFor30DaysBefore) {
  const Read soon =
      read_text(std::string(kPlaces) + waiver("tls-aes128", "upstreams.a", "2027-01-31"));
  ASSERT_EQ(soon.out.all().size(), 1U);
  EXPECT_EQ(soon.out.all()[0].severity, Severity::kWarning);
  const Read later =
      read_text(std::string(kPlaces) + waiver("tls-aes128", "upstreams.a", "2027-02-01"));
  EXPECT_TRUE(later.out.all().empty());
}

TEST(Waivers, ThatWaiveNothingAreErrors) {
  Read r = read_text(std::string(kPlaces) + waiver("tls-aes128", "upstreams.a", "2027-05-01") +
                     waiver("upstream-cleartext", "upstreams.b", "2027-05-01"));
  EXPECT_EQ(r.waivers.use("upstream-cleartext", "upstreams.b")->index, 1U);
  r.waivers.report_unused(r.out);
  ASSERT_EQ(r.out.error_count(), 1U);
  EXPECT_NE(r.out.all()[0].message.find("waives nothing"), std::string::npos);
  EXPECT_EQ(r.out.all()[0].at.line, 4U);
}

TEST(RequireWaived, SaysWhatToDoAndTheWaiverToWrite) {
  Diagnostics out;
  Waivers none;
  EXPECT_FALSE(require_waived(out, none, "upstream-cleartext", "upstreams.a", {}, "no `tls`"));
  ASSERT_EQ(out.error_count(), 1U);
  const Diagnostic& error = out.all()[0];
  EXPECT_EQ(error.rule, "upstream-cleartext");
  EXPECT_NE(error.help.find(std::string(find_rule("upstream-cleartext")->remediation)),
            std::string::npos);
  // What the help gives to copy is a waiver, once its blanks are filled.
  const std::size_t from = error.help.find("- {");
  std::string yaml = error.help.substr(from);
  yaml.replace(yaml.find("\"…\""), std::string("\"…\"").size(), "moves next month");
  yaml.replace(yaml.find("owner: …"), std::string("owner: …").size(), "owner: ops");
  yaml.replace(yaml.find("YYYY-MM-DD"), 10, "2027-05-01");
  Read r = read_text(std::string(kPlaces) + "  " + yaml + "\n");
  EXPECT_TRUE(r.out.ok()) << r.out.render();
  EXPECT_TRUE(
      require_waived(r.out, r.waivers, "upstream-cleartext", "upstreams.a", {}, "no `tls`"));
  EXPECT_TRUE(r.out.ok());
  EXPECT_NE(r.out.all().back().message.find("waived until 2027-05-01 by ops"), std::string::npos);
}

TEST(RequireWaived, SaysNothingOfAWaiverWhoseDateIsAnError) {
  const std::string text =
      std::string(kPlaces) + waiver("upstream-cleartext", "upstreams.a", "2026-12-31");
  Read refused = read_text(text);
  EXPECT_TRUE(require_waived(refused.out, refused.waivers, "upstream-cleartext", "upstreams.a", {},
                             "no `tls`"));
  EXPECT_EQ(refused.out.all().size(), 1U) << refused.out.render();
  Read start = read_text(text, ExpiryMode::kWarn);
  EXPECT_TRUE(require_waived(start.out, start.waivers, "upstream-cleartext", "upstreams.a", {},
                             "no `tls`"));
  EXPECT_EQ(start.out.all().size(), 2U) << "what is in force all the same is told";
}

}  // namespace
}  // namespace merlon::config
