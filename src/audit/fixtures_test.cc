#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "audit/audit.h"
#include "audit/envoy/rules.h"
#include "audit/nginx/rules.h"
#include "config/catalogue.h"

// Every configuration in tests/audit/nginx and tests/audit/envoy is audited, and what is found must
// be what its comments expect ("<file>.expect" stands for the comments that JSON has not):
//
//   x;  # expect: HDR-02              on this line
//   # expect: HDR-02 INF-01:low       on the next line that is no comment; with its level
//   # expect: HDR-02@12               on line 12
//   x;  # clean: HDR-02               looks like it, and is none: a case of "false"
//   # rules: HDR-01 HDR-02            only these rules are compared, but all of them
//   # gaps: 1                         so many places could not be read
//
// Files whose names begin with "strict" are audited with that profile.
namespace merlon::audit {
namespace {

namespace fs = std::filesystem;

const fs::path kFolder = fs::path(MERLON_SOURCE_DIR) / "tests" / "audit";

// 2027-03-01: certificates of the fixtures are judged as of this day.
constexpr std::int64_t kNow = 1'803'859'200;

struct Expected {
  std::set<std::string> found;  ///< "file:line RULE" or "file:line RULE:level"
  std::set<std::string> clean;  ///< "file:line RULE"
  std::set<std::string> rules;
  std::size_t gaps = 0;
};

/// The words behind a marker, up to the next comment sign.
std::vector<std::string> words_after(const std::string& line, const std::string& marker) {
  const std::size_t at = line.find(marker);
  std::vector<std::string> out;
  if (at == std::string::npos) return out;
  const std::size_t start = at + marker.size();
  std::istringstream in(line.substr(start, line.find('#', start) - start));
  for (std::string word; in >> word;) out.push_back(word);
  return out;
}

void read_expectations(const Source& source, Expected& out) {
  const std::string name = fs::path(source.path).filename().string();
  std::istringstream in(source.text);
  std::vector<std::string> pending;
  std::size_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    for (const std::string& rule : words_after(line, "# rules:")) out.rules.insert(rule);
    for (const std::string& count : words_after(line, "# gaps:")) out.gaps = std::stoul(count);
    for (const std::string& rule : words_after(line, "# clean:")) {
      out.clean.insert(fmt::format("{}:{} {}", name, number, rule));
    }
    const std::size_t start = line.find_first_not_of(" \t");
    const bool comment = start != std::string::npos && line[start] == '#';
    for (const std::string& rule : words_after(line, "# expect:")) {
      const std::size_t sign = rule.find('@');
      if (sign != std::string::npos) {
        out.found.insert(
            fmt::format("{}:{} {}", name, rule.substr(sign + 1), rule.substr(0, sign)));
      } else if (comment) {
        pending.push_back(rule);
      } else {
        out.found.insert(fmt::format("{}:{} {}", name, number, rule));
      }
    }
    if (comment || start == std::string::npos) continue;
    for (const std::string& rule : pending) {
      out.found.insert(fmt::format("{}:{} {}", name, number, rule));
    }
    pending.clear();
  }
}

std::vector<fs::path> fixtures(const char* kind) {
  std::vector<fs::path> out;
  for (const auto& entry : fs::directory_iterator(kFolder / kind)) {
    const fs::path extension = entry.path().extension();
    if (extension == ".conf" || extension == ".yaml" || extension == ".json") {
      out.push_back(entry.path());
    }
  }
  std::ranges::sort(out);
  return out;
}

Expected expectations_of(const AuditResult& result) {
  Expected expected;
  std::set<std::string> read;
  for (const auto& source : result.sources) {
    if (!read.insert(source->path).second) continue;
    read_expectations(*source, expected);
    std::ifstream beside(source->path + ".expect");
    if (!beside) continue;
    const std::string text{std::istreambuf_iterator<char>(beside), {}};
    read_expectations(Source{source->path, text}, expected);
  }
  return expected;
}

class Fixture : public testing::TestWithParam<fs::path> {};

TEST_P(Fixture, FindsWhatItsCommentsExpectAndNothingElse) {
  Options options;
  options.now = kNow;
  options.strict = GetParam().filename().string().starts_with("strict");
  const AuditResult result = audit({GetParam().string()}, options);
  const Expected expected = expectations_of(result);
  std::set<std::string> found;
  std::set<std::string> unexpected;
  for (const Finding& finding : result.findings) {
    ASSERT_NE(finding.at.source, nullptr) << finding.message;
    const std::string plain =
        fmt::format("{}:{} {}", fs::path(finding.at.source->path).filename().string(),
                    finding.at.line, finding.rule);
    const std::string with_level = fmt::format("{}:{}", plain, name(finding.level));
    EXPECT_FALSE(expected.clean.contains(plain)) << with_level << ": " << finding.message;
    if (!expected.rules.empty() && !expected.rules.contains(finding.rule)) continue;
    if (expected.found.contains(plain)) {
      found.insert(plain);
    } else if (expected.found.contains(with_level)) {
      found.insert(with_level);
    } else {
      unexpected.insert(with_level + ": " + finding.message);
    }
  }
  std::vector<std::string> missing;
  std::ranges::set_difference(expected.found, found, std::back_inserter(missing));
  EXPECT_EQ(missing, std::vector<std::string>{});
  EXPECT_EQ(unexpected, std::set<std::string>{});
  EXPECT_EQ(result.gaps.size(), expected.gaps)
      << (result.gaps.empty() ? "" : result.gaps.front().what);
}

/// How often fixtures say something of each rule.
struct Cases {
  std::map<std::string, int> found;
  std::map<std::string, int> clean;
};

void count_cases(const fs::path& folder, Cases& out) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream in(entry.path());
    for (std::string line; std::getline(in, line);) {
      for (const std::string& word : words_after(line, "# expect:")) {
        ++out.found[word.substr(0, word.find_first_of(":@"))];
      }
      for (const std::string& word : words_after(line, "# clean:")) ++out.clean[word];
    }
  }
}

/// These depend on modes of files, which a checkout does not keep: audit_test.cc has their cases.
bool is_by_mode(std::string_view id) { return id == "JWT-04" || id == "SYS-02" || id == "LOG-06"; }

TEST(Fixtures, ShowEveryRuleOfNginxTwiceTrueAndTwiceFalseAndThroughAnInclude) {
  Cases included;
  count_cases(kFolder / "nginx" / "inc", included);
  Cases all = included;
  count_cases(kFolder / "nginx", all);
  for (const std::string_view id : nginx::rule_ids()) {
    const std::string rule(id);
    EXPECT_NE(config::find_rule_by_id(id), nullptr) << id << " is not in the catalogue";
    if (is_by_mode(id)) continue;
    EXPECT_GE(all.found[rule], 2) << id;
    EXPECT_GE(all.clean[rule], 2) << id;
    EXPECT_GE(included.found[rule], 1) << id;
  }
}

TEST(Fixtures, ShowEveryRuleOfEnvoyTwiceTrueAndTwiceFalse) {
  Cases all;
  count_cases(kFolder / "envoy", all);
  for (const std::string_view id : envoy::rule_ids()) {
    const std::string rule(id);
    EXPECT_NE(config::find_rule_by_id(id), nullptr) << id << " is not in the catalogue";
    if (id == "SYS-02" || id == "LOG-06") continue;
    EXPECT_GE(all.found[rule], 2) << id;
    EXPECT_GE(all.clean[rule], 2) << id;
  }
}

std::string name_of(const testing::TestParamInfo<fs::path>& test) {
  std::string name = test.param.stem().string();
  std::ranges::replace_if(
      name, [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Nginx, Fixture, testing::ValuesIn(fixtures("nginx")), name_of);
INSTANTIATE_TEST_SUITE_P(Envoy, Fixture, testing::ValuesIn(fixtures("envoy")), name_of);

}  // namespace
}  // namespace merlon::audit
