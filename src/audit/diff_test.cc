#include <gtest/gtest.h>

#include <string>

#include "audit/audit.h"

namespace merlon::audit {
namespace {

std::string patch_of(std::string text) {
  Options options;
  options.only_rules = {"INF-01"};
  return unified_diff(audit_text("t.conf", std::move(text), options));
}

TEST(UnifiedDiff, KeepsTheEndingsOfLines) {
  EXPECT_EQ(patch_of("events {}\r\nhttp {\r\n  server_tokens on;\r\n}\r\n"),
            "--- t.conf\n+++ t.conf\n@@ -1,4 +1,4 @@\n events {}\r\n http {\r\n"
            "-  server_tokens on;\r\n+  server_tokens off;\r\n }\r\n");
  EXPECT_EQ(patch_of("events {}\nhttp {\n  server_tokens on;\n}\n"),
            "--- t.conf\n+++ t.conf\n@@ -1,4 +1,4 @@\n events {}\n http {\n"
            "-  server_tokens on;\n+  server_tokens off;\n }\n");
}

TEST(UnifiedDiff, SaysWhereTheFileHasNoLastLineEnd) {
  EXPECT_EQ(patch_of("events {}\nhttp {\n  server_tokens on;\n}"),
            "--- t.conf\n+++ t.conf\n@@ -1,4 +1,4 @@\n events {}\n http {\n"
            "-  server_tokens on;\n+  server_tokens off;\n }\n\\ No newline at end of file\n");
}

TEST(UnifiedDiff, EndsInsertedLinesAsTheFileDoes) {
  const std::string patch = patch_of(
      "events {}\r\nhttp {\r\n  server {\r\n    listen 80;\r\n    return 200 x;\r\n  }\r\n}\r\n");
  EXPECT_NE(patch.find("+  server_tokens off;\r\n"), std::string::npos) << patch;
}

TEST(UnifiedDiff, EndsANameWithBlanksByATab) {
  Options options;
  options.only_rules = {"INF-01"};
  const std::string patch =
      unified_diff(audit_text("a b.conf", "events {}\nhttp {\n  server_tokens on;\n}\n", options));
  EXPECT_TRUE(patch.starts_with("--- a b.conf\t\n+++ a b.conf\t\n@@")) << patch;
}

/// What one fix repeats of an outer level is what another fix makes of it there.
TEST(UnifiedDiff, RepeatsWhatIsMended) {
  Options options;
  options.only_rules = {"LOC-07", "HST-01", "HDR-01", "HDR-02"};
  const std::string patch = unified_diff(
      audit_text("t.conf",
                 "events {}\nhttp {\n  server {\n    listen 80;\n    server_name a.test;\n"
                 "    add_header X-Frame-Options DENY;\n    proxy_set_header Host $http_host;\n"
                 "    location / {\n      add_header X-A b always;\n      proxy_set_header X-B c;\n"
                 "      proxy_pass http://127.0.0.1:1;\n    }\n  }\n}\n",
                 options));
  EXPECT_NE(patch.find("+      proxy_set_header Host $host;"), std::string::npos) << patch;
  EXPECT_NE(patch.find("+      add_header X-Frame-Options DENY always;"), std::string::npos)
      << patch;
  EXPECT_EQ(patch.find("+      proxy_set_header Host $http_host;"), std::string::npos) << patch;
}

}  // namespace
}  // namespace merlon::audit
