#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "audit/report/escape.h"
#include "audit/report/markup_for_tests.h"
#include "audit/report/report.h"
#include "audit/report/sample_for_tests.h"

namespace merlon::audit::report {
namespace {

using testing::HasSubstr;
using testing::Not;

Markup html_of(const AuditResult& result) {
  return Markup(render(result, Format::kHtml, {.now = kNow}), {"meta", "br"});
}

TEST(Junit, IsWellFormedAndCounts) {
  const Markup xml(render(sample_result(), Format::kJunit, {.now = kNow}));
  ASSERT_EQ(xml.elements.at(0).name, "testsuites");
  EXPECT_EQ(xml.elements[0].attributes.at("tests"), "6");
  EXPECT_EQ(xml.elements[0].attributes.at("failures"), "2");
  EXPECT_EQ(xml.elements[0].attributes.at("errors"), "1");
  EXPECT_EQ(xml.count("testcase"), 6U);
  EXPECT_EQ(xml.count("failure"), 2U);
  EXPECT_EQ(xml.count("error"), 1U);
  EXPECT_EQ(xml.count("skipped"), 2U);
  EXPECT_EQ(xml.count("system-out"), 1U);
  EXPECT_THAT(xml.text, HasSubstr(printable(kHostile)));
}

TEST(Junit, FailsFromTheLevelThatWasAskedFor) {
  const AuditResult result = sample_result();
  const auto failures = [&](Level level) {
    return Markup(render(result, Format::kJunit, {.now = kNow, .fail_on = level})).count("failure");
  };
  EXPECT_EQ(failures(Level::kCritical), 1U);
  EXPECT_EQ(failures(Level::kMedium), 3U);
  EXPECT_EQ(failures(Level::kInfo), 3U);  // waived and known ones never fail
}

TEST(Junit, AFileWithoutFindingsIsACaseThatPasses) {
  AuditResult result;
  result.sources = {sample_source()};
  const Markup xml(render(result, Format::kJunit, {.now = kNow}));
  EXPECT_EQ(xml.count("testcase"), 1U);
  EXPECT_EQ(xml.count("failure") + xml.count("error") + xml.count("skipped"), 0U);
}

TEST(Html, IsWellFormed) {
  const Markup page = html_of(sample_result());
  EXPECT_EQ(page.count("h1"), 1U);
  EXPECT_EQ(page.count("section"), 7U);
  EXPECT_THAT(page.text, HasSubstr(printable(kHostile)));
}

TEST(Html, AnEmptyResultIsWellFormedToo) {
  const Markup page = html_of(AuditResult{});
  EXPECT_THAT(page.text, HasSubstr("Nothing could be read"));
  EXPECT_THAT(page.text, Not(HasSubstr("Everything that was named")));
}

/// Nothing is run and nothing is fetched: the report of a secret host can be opened anywhere.
TEST(Html, RunsAndLoadsNothing) {
  const std::string text = render(sample_result(), Format::kHtml, {.now = kNow});
  const std::set<std::string> kLoading = {"script", "link", "img",    "iframe", "object",
                                          "embed",  "base", "source", "form",   "svg"};
  for (const Element& element : html_of(sample_result()).elements) {
    EXPECT_FALSE(kLoading.contains(element.name)) << element.name;
    for (const auto& [name, value] : element.attributes) {
      EXPECT_FALSE(name.starts_with("on")) << name;
      EXPECT_NE(name, "src");
      if (name == "href") {
        EXPECT_TRUE(value.starts_with("#")) << value;
      }
      if (name == "style") {
        EXPECT_EQ(value.find("url"), std::string::npos);
      }
    }
  }
  EXPECT_THAT(text, Not(HasSubstr("@import")));
  EXPECT_THAT(text, Not(HasSubstr("url(")));
  EXPECT_THAT(text, HasSubstr("default-src 'none'"));
}

TEST(Html, EveryLinkHasItsTarget) {
  const Markup page = html_of(sample_result());
  std::set<std::string> targets;
  for (const Element& element : page.elements) {
    const auto id = element.attributes.find("id");
    if (id == element.attributes.end()) continue;
    EXPECT_TRUE(targets.insert(id->second).second) << id->second << " twice";
  }
  for (const Element& element : page.elements) {
    const auto href = element.attributes.find("href");
    if (href == element.attributes.end()) continue;
    EXPECT_TRUE(targets.contains(href->second.substr(1))) << href->second;
  }
}

TEST(Html, ShowsWhatTheResultHolds) {
  const std::string text = html_of(sample_result()).text;
  for (const char* wanted :
       {"2 findings of high or critical severity", "TLSv1 is offered",
        "a client with TLSv1 only is served", "ssl_protocols TLSv1.2 TLSv1.3;", "0.0.0.0:443 ssl",
        "limit_req 10r/s", "expired 5 days ago", "10 days left", "Security Misconfiguration",
        "Transmission Confidentiality and Integrity", "known from the baseline",
        "not in force: it expired on 2020-01-01", "1 place could not be read",
        "Rules that could not be judged", "The line holds a secret and is not shown."}) {
    EXPECT_THAT(text, HasSubstr(wanted));
  }
}

TEST(Html, ADayThatIsBarelyOverIsExpired) {
  AuditResult result;
  CertificateSeen seen;
  seen.subject = "CN=x";
  seen.not_before = kNow - 90 * kDay;
  seen.not_after = kNow - 1;
  result.certificates = {seen, seen};
  const std::string text = html_of(result).text;
  EXPECT_THAT(text, HasSubstr("expired 1 day ago"));
  EXPECT_EQ(text.find("CN=x"), text.rfind("CN=x"));  // named twice, shown once
}

}  // namespace
}  // namespace merlon::audit::report
