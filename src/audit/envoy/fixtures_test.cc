#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include "audit/audit.h"
#include "audit/envoy/rules.h"
#include "config/catalogue.h"

// Every tests/audit/envoy/*.yaml and *.json is audited, and what is found must be what its comments
// expect ("<file>.expect" stands for the comments that JSON has not):
//   timeout: 0s  # expect: LIM-10          on this line
//   # expect: LIM-10 LIM-11:low            on the next line that is no comment; with its level
//   # expect: LIM-10@12                    on line 12
//   # rules: LIM-10 LIM-11                 only these rules are compared, but all of them
//   # gaps: 1                              so many places could not be read
namespace merlon::audit {
namespace {

namespace fs = std::filesystem;

const fs::path kFolder = fs::path(MERLON_SOURCE_DIR) / "tests" / "audit" / "envoy";

// 2027-03-01: certificates of the fixtures are judged as of this day.
constexpr std::int64_t kNow = 1'803'859'200;

struct Expected {
  std::set<std::string> found;  ///< "file:line RULE" or "file:line RULE:level"
  std::set<std::string> rules;
  std::size_t gaps = 0;
};

std::vector<std::string> words(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> out;
  for (std::string word; in >> word;) out.push_back(word);
  return out;
}

std::string after(const std::string& line, const std::string& marker) {
  const std::size_t at = line.find(marker);
  return at == std::string::npos ? std::string{} : line.substr(at + marker.size());
}

void read_expectations(const Source& source, Expected& out) {
  const std::string name = fs::path(source.path).filename().string();
  std::istringstream in(source.text);
  std::vector<std::string> pending;
  std::size_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    for (const std::string& rule : words(after(line, "# rules:"))) out.rules.insert(rule);
    const std::string gaps = after(line, "# gaps:");
    if (!gaps.empty()) out.gaps = std::stoul(gaps);
    const std::size_t start = line.find_first_not_of(" \t");
    const bool comment = start != std::string::npos && line[start] == '#';
    const std::vector<std::string> rules = words(after(line, "# expect:"));
    for (const std::string& rule : rules) {
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

std::vector<fs::path> fixtures() {
  std::vector<fs::path> out;
  for (const auto& entry : fs::directory_iterator(kFolder)) {
    const fs::path extension = entry.path().extension();
    if (extension == ".yaml" || extension == ".json") out.push_back(entry.path());
  }
  std::ranges::sort(out);
  return out;
}

class EnvoyFixture : public testing::TestWithParam<fs::path> {};

TEST_P(EnvoyFixture, FindsWhatItsCommentsExpectAndNothingElse) {
  Options options;
  options.now = kNow;
  options.strict = GetParam().filename() == "strict.yaml";
  const AuditResult result = audit({GetParam().string()}, options);
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
  std::set<std::string> found;
  std::set<std::string> unexpected;
  for (const Finding& finding : result.findings) {
    if (!expected.rules.empty() && !expected.rules.contains(finding.rule)) continue;
    ASSERT_NE(finding.at.source, nullptr) << finding.message;
    const std::string plain =
        fmt::format("{}:{} {}", fs::path(finding.at.source->path).filename().string(),
                    finding.at.line, finding.rule);
    const std::string with_level = fmt::format("{}:{}", plain, name(finding.level));
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

/// How often fixtures expect each rule.
void count_expectations(const fs::path& folder, std::map<std::string, int>& out) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream in(entry.path());
    for (std::string line; std::getline(in, line);) {
      for (const std::string& word : words(after(line, "# expect:"))) {
        ++out[word.substr(0, word.find_first_of(":@"))];
      }
    }
  }
}

TEST(EnvoyFixtures, ShowEveryRuleTwice) {
  std::map<std::string, int> all;
  count_expectations(kFolder, all);
  for (const std::string_view id : envoy::rule_ids()) {
    EXPECT_NE(config::find_rule_by_id(id), nullptr) << id << " is not in the catalogue";
    EXPECT_GE(all[std::string(id)], 2) << id;
  }
}

INSTANTIATE_TEST_SUITE_P(Envoy, EnvoyFixture, testing::ValuesIn(fixtures()), [](const auto& test) {
  std::string name = test.param.stem().string();
  std::ranges::replace_if(
      name, [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
  return name;
});

}  // namespace
}  // namespace merlon::audit
