#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "audit/report/report.h"
#include "audit/report/sample_for_tests.h"
#include "audit/report/taxonomy.h"

namespace merlon::audit::report {
namespace {

using nlohmann::json;

bool is_type(const json& value, const std::string& type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "integer") return value.is_number_integer();
  if (type == "boolean") return value.is_boolean();
  if (type == "null") return value.is_null();
  ADD_FAILURE() << "the schema has a type that this test does not know: " << type;
  return false;
}

/// The part of JSON Schema 2020-12 that our schema uses; a keyword beyond it fails the test.
class SchemaCheck {
 public:
  explicit SchemaCheck(const json& root) : root_(root) {}

  void check(const json& schema, const json& value, const std::string& at) {
    for (const auto& [key, rule] : schema.items()) keyword(key, rule, schema, value, at);
  }

 private:
  void keyword(const std::string& key, const json& rule, const json& schema, const json& value,
               const std::string& at) {
    static const std::set<std::string> kWords = {"$schema", "$id", "title", "description", "$defs"};
    if (kWords.contains(key)) return;
    if (key == "$ref")
      return check(root_.at(json::json_pointer(rule.get<std::string>().substr(1))), value, at);
    if (key == "const") return expect(value == rule, at, "const");
    if (key == "enum") return expect(std::ranges::find(rule, value) != rule.end(), at, "enum");
    if (key == "minimum") return expect(value >= rule, at, "minimum");
    if (key == "pattern") {
      const std::regex pattern(rule.get<std::string>());
      return expect(std::regex_search(value.get<std::string>(), pattern), at, "pattern");
    }
    if (key == "type") return type(rule, value, at);
    if (key == "required") return required(rule, value, at);
    if (key == "properties") return properties(rule, value, at);
    if (key == "additionalProperties") return additional(schema, value, at);
    if (key == "items") {
      for (std::size_t i = 0; i < value.size(); ++i) {
        check(rule, value[i], at + "/" + std::to_string(i));
      }
      return;
    }
    ADD_FAILURE() << "the schema has a keyword that this test does not know: " << key;
  }

  static void expect(bool holds, const std::string& at, const std::string& what) {
    EXPECT_TRUE(holds) << at << " breaks " << what;
  }

  static void type(const json& rule, const json& value, const std::string& at) {
    bool holds = false;
    for (const json& one : rule.is_array() ? rule : json::array({rule})) {
      holds = holds || is_type(value, one.get<std::string>());
    }
    expect(holds, at, "type");
  }

  static void required(const json& rule, const json& value, const std::string& at) {
    if (!value.is_object()) return;
    for (const json& one : rule) expect(value.contains(one), at, "required " + one.dump());
  }

  void properties(const json& rule, const json& value, const std::string& at) {
    if (!value.is_object()) return;
    for (const auto& [name, schema] : rule.items()) {
      if (value.contains(name)) check(schema, value[name], at + "/" + name);
    }
  }

  static void additional(const json& schema, const json& value, const std::string& at) {
    if (!value.is_object()) return;
    for (const auto& [name, member] : value.items()) {
      expect(schema["properties"].contains(name), at, "additionalProperties by " + name);
    }
  }

  const json& root_;
};

json parsed(Format format, const AuditResult& result) {
  return json::parse(render(result, format, {.now = kNow}));
}

TEST(Json, FollowsThePublishedSchema) {
  std::ifstream in(std::string(MERLON_SOURCE_DIR) + "/docs/audit-report.schema.json");
  const json schema = json::parse(in);
  SchemaCheck check(schema);
  check.check(schema, parsed(Format::kJson, sample_result()), "");
  check.check(schema, parsed(Format::kJson, AuditResult{}), "");
}

TEST(Json, SaysWhatTheResultHolds) {
  const json report = parsed(Format::kJson, sample_result());
  EXPECT_EQ(report["grade"]["letter"], "F");
  EXPECT_EQ(report["summary"]["critical"], 1);
  EXPECT_EQ(report["summary"]["waived"], 1);
  EXPECT_EQ(report["summary"]["known"], 1);
  const json& finding = report["findings"][1];
  EXPECT_EQ(finding["rule"], "TLS-01");
  EXPECT_EQ(finding["location"]["line"], 3);
  EXPECT_EQ(finding["source"], "  ssl_protocols TLSv1 TLSv1.2;");
  EXPECT_EQ(finding["fix"][0]["replacement"], "  ssl_protocols TLSv1.2 TLSv1.3;\n");
  EXPECT_TRUE(report["findings"][0]["source"].is_null());  // a secret
  EXPECT_TRUE(report["findings"][0]["fix"].empty());
  EXPECT_EQ(report["certificates"][0]["not_after"], "2026-12-03T12:00:00Z");
}

/// Every member that SARIF 2.1.0 requires of the objects that we write.
TEST(Sarif, HasWhatTheStandardRequires) {
  const json log = parsed(Format::kSarif, sample_result());
  EXPECT_EQ(log["version"], "2.1.0");
  ASSERT_EQ(log["runs"].size(), 1U);
  const json& run = log["runs"][0];
  const json& driver = run["tool"]["driver"];
  EXPECT_EQ(driver["name"], "merlon");
  ASSERT_EQ(run["results"].size(), 5U);
  for (const json& result : run["results"]) {
    EXPECT_TRUE(result["message"]["text"].is_string());
    const std::size_t index = result["ruleIndex"];
    ASSERT_LT(index, driver["rules"].size());
    EXPECT_EQ(driver["rules"][index]["id"], result["ruleId"]);
    const json& place = result["locations"][0]["physicalLocation"];
    const std::size_t artifact = place["artifactLocation"]["index"];
    EXPECT_EQ(run["artifacts"][artifact]["location"]["uri"], place["artifactLocation"]["uri"]);
    EXPECT_GE(place["region"]["startLine"], 1);
  }
  for (const json& rule : driver["rules"]) {
    EXPECT_FALSE(rule["help"]["text"].get<std::string>().empty()) << rule["id"];
    EXPECT_FALSE(rule["shortDescription"]["text"].get<std::string>().empty()) << rule["id"];
  }
  EXPECT_EQ(run["invocations"][0]["executionSuccessful"], false);  // there is a gap
  EXPECT_EQ(run["invocations"][0]["toolExecutionNotifications"].size(), 1U);
}

TEST(Sarif, RulesPointToTaxaThatAreThere) {
  const json run = parsed(Format::kSarif, sample_result())["runs"][0];
  ASSERT_EQ(run["taxonomies"].size(), 3U);
  std::size_t relations = 0;
  for (const json& rule : run["tool"]["driver"]["rules"]) {
    for (const json& relation : rule["relationships"]) {
      const json& target = relation["target"];
      const json& taxonomy = run["taxonomies"][target["toolComponent"]["index"].get<std::size_t>()];
      EXPECT_EQ(taxonomy["name"], target["toolComponent"]["name"]);
      EXPECT_EQ(taxonomy["taxa"][target["index"].get<std::size_t>()]["id"], target["id"]);
      ++relations;
    }
  }
  EXPECT_GT(relations, 5U);
  EXPECT_EQ(run["taxonomies"][0]["taxa"].size(), 10U);
  EXPECT_EQ(run["taxonomies"][0]["taxa"][9]["id"], "API10");
}

TEST(Sarif, WaivedAndKnownAreSuppressed) {
  const json run = parsed(Format::kSarif, sample_result())["runs"][0];
  std::size_t in_source = 0;
  std::size_t external = 0;
  for (const json& result : run["results"]) {
    if (!result.contains("suppressions")) continue;
    const json& one = result["suppressions"][0];
    EXPECT_FALSE(one["justification"].get<std::string>().empty());
    in_source += one["kind"] == "inSource" ? 1U : 0U;
    external += one["kind"] == "external" ? 1U : 0U;
  }
  EXPECT_EQ(in_source, 1U);
  EXPECT_EQ(external, 1U);
}

TEST(Sarif, FingerprintsStayWhenLinesShift) {
  const json before = parsed(Format::kSarif, sample_result())["runs"][0]["results"];
  const json after =
      parsed(Format::kSarif, sample_result("# one\n# two\n", 2))["runs"][0]["results"];
  ASSERT_EQ(before.size(), after.size());
  std::set<std::string> distinct;
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(before[i]["partialFingerprints"], after[i]["partialFingerprints"]);
    EXPECT_NE(before[i]["locations"], after[i]["locations"]);
    distinct.insert(before[i]["partialFingerprints"].dump());
  }
  EXPECT_EQ(distinct.size(), before.size());
}

TEST(Sarif, TextOfAConfigurationIsNoLinkAndNoPlaceholder) {
  const json results = parsed(Format::kSarif, sample_result())["runs"][0]["results"];
  const std::string text = results[2]["message"]["text"];
  EXPECT_NE(text.find("{{0}}"), std::string::npos) << text;
  EXPECT_NE(text.find("\\[x\\](http"), std::string::npos) << text;
}

TEST(Sarif, ColumnsAreCharacters) {
  AuditResult result;
  auto source = std::make_shared<const Source>(Source{"x.conf", "\xc3\xa9\xc3\xa9 bad\n"});
  result.findings.push_back(sample_finding("CFG-01", Level::kHigh, {source, 1, 6, 3}, "m"));
  const json region =
      parsed(Format::kSarif,
             result)["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"];
  EXPECT_EQ(region["startColumn"], 4);
  EXPECT_EQ(region["endColumn"], 7);
}

TEST(Sarif, FixesReplaceWholeLines) {
  const json fix = parsed(Format::kSarif, sample_result())["runs"][0]["results"][1]["fixes"][0];
  const json& replacement = fix["artifactChanges"][0]["replacements"][0];
  EXPECT_EQ(replacement["deletedRegion"]["startLine"], 3);
  EXPECT_EQ(replacement["deletedRegion"]["endLine"], 4);
  EXPECT_EQ(replacement["deletedRegion"]["endColumn"], 1);
  EXPECT_EQ(replacement["insertedContent"]["text"], "  ssl_protocols TLSv1.2 TLSv1.3;\n");
}

TEST(Taxonomy, EveryCategoryOfTheCatalogueHasItsName) {
  for (const Taxonomy& taxonomy : taxonomies()) {
    if (taxonomy.categories.empty()) continue;
    for (const Category& category : categories_of(taxonomy)) {
      EXPECT_FALSE(category.name.empty()) << taxonomy.name << " " << category.id;
    }
  }
}

}  // namespace
}  // namespace merlon::audit::report
