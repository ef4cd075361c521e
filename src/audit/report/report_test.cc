#include "audit/report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "audit/fingerprint.h"
#include "audit/report/escape.h"
#include "audit/report/sample_for_tests.h"
#include "audit/report/view.h"

namespace merlon::audit::report {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr Format kAll[] = {Format::kText,  Format::kLines, Format::kJson,
                           Format::kSarif, Format::kJunit, Format::kHtml};

std::string file(const std::string& path) {
  std::ifstream in(std::string(MERLON_SOURCE_DIR) + "/tests/audit/report/" + path,
                   std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

class EveryFormat : public testing::TestWithParam<Format> {};

TEST_P(EveryFormat, PassesNothingThatATerminalObeysAndIsUtf8) {
  const std::string out = render(sample_result(), GetParam(), {.now = kNow});
  ASSERT_FALSE(out.empty());
  for (const char c : out) {
    const auto byte = static_cast<unsigned char>(c);
    ASSERT_TRUE(byte >= 0x20 || c == '\n') << static_cast<int>(byte);
    ASSERT_NE(byte, 0x7f);
    ASSERT_NE(byte, 0xff);
  }
  EXPECT_THAT(out, Not(HasSubstr("\xe2\x80\xae")));  // the writing direction stays as it is
}

TEST_P(EveryFormat, ShowsNoLineThatHoldsASecret) {
  EXPECT_THAT(render(sample_result(), GetParam(), {.now = kNow}),
              Not(HasSubstr(std::string(kSecret))));
}

TEST_P(EveryFormat, IsAFunctionOfTheResult) {
  EXPECT_EQ(render(sample_result(), GetParam(), {.now = kNow}),
            render(sample_result(), GetParam(), {.now = kNow}));
}

TEST_P(EveryFormat, WritesAnEmptyResult) {
  EXPECT_FALSE(render(AuditResult{}, GetParam(), {.now = kNow}).empty() &&
               GetParam() != Format::kLines);
}

TEST_P(EveryFormat, HasItsName) {
  Format found = Format::kText;
  ASSERT_TRUE(parse_format(name(GetParam()), found));
  EXPECT_EQ(found, GetParam());
  EXPECT_THAT(format_names(), HasSubstr(std::string(name(GetParam()))));
}

INSTANTIATE_TEST_SUITE_P(All, EveryFormat, testing::ValuesIn(kAll),
                         [](const auto& test) { return std::string(name(test.param)); });

TEST(Format, UnknownNamesAreRefused) {
  Format found = Format::kJson;
  EXPECT_FALSE(parse_format("pdf", found));
  EXPECT_FALSE(parse_format("", found));
  EXPECT_EQ(found, Format::kJson);
}

TEST(Text, IsAsTheGoldenFileShows) {
  const std::string out = render(sample_result(), Format::kText, {.now = kNow});
  if (std::getenv("MERLON_WRITE_GOLDEN") != nullptr) {
    std::ofstream(std::string(MERLON_SOURCE_DIR) + "/tests/audit/report/sample.txt",
                  std::ios::binary)
        << out;
  }
  EXPECT_EQ(out, file("sample.txt"));
}

TEST(Text, ColoursOnlyWhenAsked) {
  const std::string plain = render(sample_result(), Format::kText, {.now = kNow});
  const std::string colored = render(sample_result(), Format::kText, {.color = true, .now = kNow});
  EXPECT_THAT(plain, Not(HasSubstr("\033")));
  EXPECT_THAT(colored, HasSubstr("\033[1;31mhigh\033[0m"));
  EXPECT_THAT(colored, HasSubstr("\\x1b[31m"));  // the configuration's own stays text
}

TEST(Text, TheCaretStandsUnderItsWordInALongLine) {
  AuditResult result;
  const std::string line = std::string(300, 'a') + "\xc3\xa9 WRONG " + std::string(300, 'b');
  auto source = std::make_shared<const Source>(Source{"x.conf", line});
  result.findings.push_back(sample_finding("CFG-01", Level::kHigh, {source, 1, 304, 5}, "m"));
  const std::string out = render(result, Format::kText, {.now = kNow});
  std::istringstream lines(out);
  std::string head;
  std::string shown;
  std::string under;
  std::getline(lines, head);
  std::getline(lines, shown);
  std::getline(lines, under);
  ASSERT_NE(shown.find("WRONG"), std::string::npos);
  EXPECT_EQ(under.find("^~~~~"), shown.find("WRONG") - 1);  // é: two bytes, one column
  EXPECT_TRUE(shown.ends_with("..."));
}

TEST(Escape, Printable) {
  EXPECT_EQ(printable("a\tb"), "a b");
  EXPECT_EQ(printable("\033[2J"), "\\x1b[2J");
  EXPECT_EQ(printable("\xc2\x9b"), "\\u{9b}");  // CSI as one character
  EXPECT_EQ(printable("\xe2\x80\xae"), "\\u{202e}");
  EXPECT_EQ(printable("\xff\xc3"), "\\xff\\xc3");
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
  EXPECT_EQ(printable("é€😀"), "é€😀");
}

TEST(Escape, Xml) {
  EXPECT_EQ(xml("<a b=\"c\">&'"), "&lt;a b=&quot;c&quot;&gt;&amp;&#39;");
  EXPECT_EQ(xml("]]>"), "]]&gt;");
  EXPECT_EQ(xml(std::string_view("\0\x01\xff", 3)), "\\x00\\x01\\xff");
  EXPECT_EQ(xml("\xef\xbf\xbf"), "\\u{ffff}");  // not a character of XML 1.0
}

TEST(Escape, UriOfPath) {
  EXPECT_EQ(uri_of_path("./conf/a b.conf"), "conf/a%20b.conf");
  EXPECT_EQ(uri_of_path("/etc/nginx/n.conf"), "file:///etc/nginx/n.conf");
  EXPECT_EQ(uri_of_path("a:b?c#d\xff"), "a%3Ab%3Fc%23d%FF");
}

TEST(View, DatesAreUtc) {
  EXPECT_EQ(date_time_of(kNow), "2026-11-23T12:00:00Z");
  EXPECT_EQ(date_of(0), "1970-01-01");
  EXPECT_EQ(date_of(-1), "1969-12-31");
}

TEST(View, FingerprintsAreDistinct) {
  AuditResult result = sample_result();
  result.findings.push_back(result.findings.front());
  const std::vector<std::string> prints = fingerprints(result);
  EXPECT_EQ(prints.back(), prints.front() + ":2");
}

}  // namespace
}  // namespace merlon::audit::report
