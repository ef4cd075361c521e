#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "audit/audit.h"

// What an auditor meets in the wild, or is given on purpose: each ends soon, with a message that
// says what is wrong, and with the exit code for "could not be read" (3), never a clean one.
namespace merlon::audit {
namespace {

namespace fs = std::filesystem;

std::string repeated(std::string_view part, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += part;
  return out;
}

/// Ten aliases of ten aliases of ten aliases …
std::string yaml_bomb() {
  std::string out = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 12; ++i) {
    out +=
        fmt::format("a{0}: &a{0} [{1}*a{2}]\n", i, repeated(fmt::format("*a{},", i - 1), 9), i - 1);
  }
  return out + "static_resources: *a11\n";
}

struct Case {
  const char* file;
  std::string text;
  const char* says;  ///< part of the message
};

class BadInput : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "merlon-bad-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  void TearDown() override { fs::remove_all(root_); }

  /// Expects that auditing `path` is refused with `says`.
  static void expect_refused(const fs::path& path, std::string_view says) {
    const AuditResult result = audit({path.string()});
    EXPECT_EQ(exit_code(result, Level::kCritical), 3) << path;
    std::string all;
    for (const Gap& gap : result.gaps) all += gap.what + "\n";
    EXPECT_NE(all.find(says), std::string::npos) << path << " says: " << all;
  }

  fs::path root_;
};

TEST_F(BadInput, OfTextsIsNamed) {
  const std::vector<Case> cases = {
      {"binary.conf",
       std::string("\x7f"
                   "ELF\0\1\2\3",
                   8),
       "not a text file"},
      {"binary.yaml",
       std::string("\x7f"
                   "ELF\0\1\2\3",
                   8),
       "not a text file"},
      {"nul.conf", std::string("events {}\nhttp {\0}\n", 18), "not a text file"},
      {"utf8.yaml", "static_resources: { listeners: [{ name: \"\xff\xc0\xaf\" }] }\n", "not UTF-8"},
      {"deep.conf", "events {}\nhttp {\n" + repeated("location / {\n", 50'000), "deep"},
      {"deep.yaml", "static_resources: " + repeated("[", 50'000), "inside each other"},
      {"deep.json", "{\"static_resources\":" + repeated("[", 50'000), "inside each other"},
      {"bomb.yaml", yaml_bomb(), "more than"},
      {"loop.yaml", "static_resources: &a { listeners: *a }\n", "anchor"},
      {"twice.yaml", "static_resources: {}\nstatic_resources: {}\n", "static_resources"},
      {"loop.conf", "events {}\nhttp {\n  include loop.conf;\n}\n", "include"},
      {"word.conf", "events {}\nhttp {\n  return \"" + repeated("x", 5'000'000) + "\";\n}\n",
       "too long"},
      {"empty.yaml", "", "not recognised"},
      {"prose.txt", "Dear Sir or Madam,\n", "not recognised"},
      {"template.j2", "server {\n  root {{ root }};\n}\n", "template"},
      // nginx takes these as they stand.
      {"erb.conf", "server {\n  server_name <%= @name %>;\n  listen 127.0.0.1:8080;\n}\n",
       "\"<%\""},
      {"helm.conf", "server {\n  root \"/srv/{{ app }}\";\n  listen 127.0.0.1:8080;\n}\n",
       "\"{{\""},
      {"field.conf",
       "location / {\n  proxy_set_header X \"{{ .Values.x }}\";\n  proxy_pass http://u;\n}\n",
       "\"{{\""},
      {"autoconf.conf", "server {\n  server_name @DOMAIN@;\n  listen 127.0.0.1:8080;\n}\n",
       "\"@DOMAIN@\""},
  };
  for (const Case& one : cases) {
    std::ofstream(root_ / one.file, std::ios::binary) << one.text;
    expect_refused(root_ / one.file, one.says);
  }
}

TEST_F(BadInput, OfFilesIsNamed) {
  fs::create_directory(root_ / "folder");
  expect_refused(root_ / "folder", "no file");
  expect_refused(root_ / "absent", "no such file");
  ASSERT_EQ(::mkfifo((root_ / "pipe.conf").c_str(), 0600), 0);
  expect_refused(root_ / "pipe.conf", "not a regular file");
  expect_refused("/dev/zero", "not a regular file");
  // A gibibyte of nothing, which takes no space.
  for (const char* name : {"huge.conf", "huge.yaml"}) {
    std::ofstream(root_ / name) << "events {}\n";
    fs::resize_file(root_ / name, std::uint64_t{1} << 30);
    expect_refused(root_ / name, "more than the bound");
  }
}

TEST_F(BadInput, OfTooManyIncludesIsNamed) {
  std::string text = "events {}\nhttp {\n";
  for (int i = 0; i < 10'001; ++i) text += "include one.inc;\n";
  std::ofstream(root_ / "one.inc") << "# nothing\n";
  std::ofstream(root_ / "nginx.conf") << text << "}\n";
  expect_refused(root_ / "nginx.conf", "includes");
}

TEST_F(BadInput, OfTooManyPatternsIsNamed) {
  // Each of these can be shown to explode only by a search that does.
  std::string text = "events {}\nhttp { server { listen 80;\n";
  for (int i = 0; i < 200; ++i) text += fmt::format("location ~ ^/(a+)+{}$ {{ return 404; }}\n", i);
  std::ofstream(root_ / "nginx.conf") << text << "} }\n";
  const AuditResult result = audit({(root_ / "nginx.conf").string()});
  const auto found = std::ranges::count(result.findings, "PTH-08", &Finding::rule);
  EXPECT_GT(found, 0);
  EXPECT_LT(found, 200);
  EXPECT_EQ(std::ranges::count(result.not_checked, "PTH-08", &NotChecked::rule), 1);
}

TEST_F(BadInput, OfTooManyFindingsIsNamed) {
  Options options;
  options.findings_max = 2;
  std::ofstream(root_ / "site.conf")
      << "server { listen 80; autoindex on; location /a { alias /srv/; autoindex on; }\n"
         "location /b { alias /srv/; } location /c { alias /srv/; } }\n";
  const AuditResult result = audit({(root_ / "site.conf").string()}, options);
  EXPECT_EQ(exit_code(result, Level::kCritical), 3);
  ASSERT_EQ(result.gaps.size(), 1U);
  EXPECT_NE(result.gaps[0].what.find("more than 2 findings"), std::string::npos);
}

TEST_F(BadInput, OfTooManyFindingsTakesNoMoreOfTheOnesItLeftOut) {
  Options options;
  options.findings_max = 1;
  std::ofstream(root_ / "site.conf")
      << "server { listen 80; location /a { proxy_pass https://a.example.com; }\n"
         "location /b { proxy_pass https://a.example.com; }\n"
         "location /c { proxy_pass http://b.example.com; }\n"
         "location /d { proxy_pass http://b.example.com; } }\n";
  const AuditResult result = audit({(root_ / "site.conf").string()}, options);
  EXPECT_EQ(exit_code(result, Level::kCritical), 3);
  EXPECT_EQ(result.findings.size(), 1U);
}

TEST_F(BadInput, OfTooManyFindingsKeepsTheGravestWhateverWasFoundFirst) {
  Options options;
  options.findings_max = 3;
  // PTH-01 is judged after the rules that find something lesser in every server.
  std::string text = "events {}\nhttp {\n";
  for (int i = 0; i < 5; ++i) {
    text += fmt::format(
        "server {{ listen 443 ssl; server_name s{}.example.com; autoindex on;\n"
        "  location /img{} {{ alias /srv/img{}/; autoindex on; }} }}\n",
        i, i, i);
  }
  std::ofstream(root_ / "nginx.conf") << text << "}\n";
  const AuditResult result = audit({(root_ / "nginx.conf").string()}, options);
  EXPECT_EQ(std::ranges::count(result.findings, "PTH-01", &Finding::rule), 3);
  EXPECT_EQ(result.findings.size(), 3U);
  EXPECT_EQ(result.gaps.size(), 1U);
  EXPECT_EQ(exit_code(result, Level::kCritical), 3);
}

TEST_F(BadInput, OfTooManyFilesIsNamed) {
  Options options;
  options.files_max = 20;
  for (int i = 0; i < 40; ++i) {
    std::ofstream(root_ / fmt::format("{}.conf", i)) << "server { return 404; }\n";
  }
  const AuditResult result = audit({root_.string()}, options);
  EXPECT_EQ(exit_code(result, Level::kCritical), 3);
}

/// A server with `count` locations, each made by `text` from its number.
std::string server_of_locations(int count, std::string (*text)(int)) {
  std::string out = "events {}\nhttp {\nserver { listen 80;\n";
  for (int i = 0; i < count; ++i) out += text(i);
  return out + "}\n}\n";
}

/// Seconds of processor time that the audit of `text` takes.
double seconds_for(const std::string& text) {
  const std::clock_t start = std::clock();
  EXPECT_FALSE(audit_text("nginx.conf", text).findings.empty());
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

/// Of these the work grew with the square of the locations, to minutes.
TEST_F(BadInput, ManyLocationsAreJudgedInTime) {
  constexpr double kSecondsMax = 20;  // a sanitizer's build on a busy machine; 1 in others
  EXPECT_LT(seconds_for(server_of_locations(
                500,
                [](int i) {
                  return fmt::format(
                      "location /a{0} {{ set $cors \"\"; if ($http_origin ~* "
                      "\"^https://(www\\.)?site{0}\\.com$\") {{ set $cors $http_origin; }}\n"
                      "add_header Access-Control-Allow-Origin $cors; }}\n",
                      i);
                })),
            kSecondsMax);
  EXPECT_LT(seconds_for(
                server_of_locations(5000,
                                    [](int i) {
                                      return fmt::format(
                                          "location /x{0} {{ proxy_pass http://b{0}.example.com;\n"
                                          "proxy_set_header X-User $remote_user; }}\n",
                                          i);
                                    })),
            kSecondsMax);
  EXPECT_LT(seconds_for(
                server_of_locations(1000,
                                    [](int i) {
                                      return fmt::format(
                                          "location /a{} {{ auth_basic x; auth_basic_user_file y;\n"
                                          "rewrite ^ /a{} last; deny all; }}\n",
                                          i, i + 3);
                                    })),
            kSecondsMax);
}

TEST_F(BadInput, OfTooManyHeadersForOneUpstreamIsSaid) {
  const std::string text = server_of_locations(500, [](int i) {
    return fmt::format(
        "location /x{0} {{ proxy_pass http://b; proxy_set_header X-User{0} $remote_user; }}\n", i);
  });
  EXPECT_EQ(
      std::ranges::count(audit_text("nginx.conf", text).not_checked, "XFF-04", &NotChecked::rule),
      1);
}

/// Each filter is judged with all behind it: without a bound the work grows with the cube.
TEST_F(BadInput, HundredsOfTokenFiltersAreJudgedInBoundedTimeAndWhatIsLeftOutIsSaid) {
  constexpr int kMany = 200;
  const std::string type = "type.googleapis.com/envoy.extensions.filters.";
  std::string text =
      "static_resources: {listeners: [{filter_chains: [{filters: [{typed_config: "
      "{\"@type\": " +
      type + "network.http_connection_manager.v3.HttpConnectionManager, http_filters: [";
  text += repeated(
      "{name: envoy.filters.http.jwt_authn, typed_config: {rules: [{match: {prefix: "
      "/x}, requires: {allow_missing: {}}}]}},\n",
      kMany);
  text += "], route_config: {virtual_hosts: [{domains: [\"*\"], routes: [\n" +
          repeated("{match: {prefix: /}, route: {cluster: a}},\n", kMany) + "]}]}}}]}]}]}\n";
  std::ofstream(root_ / "many.yaml") << text;

  const AuditResult result = audit({(root_ / "many.yaml").string()});

  EXPECT_TRUE(std::ranges::any_of(result.not_checked,
                                  [](const NotChecked& one) { return one.rule == "JWT-02"; }));
}

}  // namespace
}  // namespace merlon::audit
