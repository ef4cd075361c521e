#include "audit/file_mode.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "audit/audit.h"

namespace merlon::audit {
namespace {

namespace fs = std::filesystem;

constexpr const char* kServer =
    "events {}\nhttp {\n  server {\n    listen 127.0.0.1:80;\n"
    "    return 404;\n  }\n}\n";

bool has(const AuditResult& result, std::string_view rule) {
  return std::ranges::any_of(result.findings, [&](const Finding& f) { return f.rule == rule; });
}

TEST(Modes, OfConfigurationThatEveryoneMayWriteAreFound) {
  // Only where configuration is in force: a checkout elsewhere says nothing by its modes.
  std::string folder = "/opt/merlon-audit-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) GTEST_SKIP() << "/opt cannot be written to";
  const std::string conf = folder + "/nginx.conf";
  std::ofstream(conf) << kServer;
  ASSERT_EQ(::chmod(conf.c_str(), 0666), 0);
  EXPECT_TRUE(has(audit({conf}), "SYS-02"));
  ASSERT_EQ(::chmod(conf.c_str(), 0644), 0);
  EXPECT_FALSE(has(audit({conf}), "SYS-02"));
  const std::string yaml = folder + "/envoy.yaml";
  std::ofstream(yaml) << "static_resources: { clusters: [{ name: c, type: EDS }] }\n";
  ASSERT_EQ(::chmod(yaml.c_str(), 0666), 0);
  EXPECT_TRUE(has(audit({yaml}), "SYS-02"));
  ASSERT_EQ(::chmod(yaml.c_str(), 0644), 0);
  EXPECT_FALSE(has(audit({yaml}), "SYS-02"));
  fs::remove_all(folder);
}

TEST(Modes, AreThoseOfThePlaceHoweverItIsNamedAndOfFoldersAndPasswords) {
  std::string folder = "/opt/merlon-audit-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) GTEST_SKIP() << "/opt cannot be written to";
  const fs::path before = fs::current_path();
  fs::create_directory(folder + "/conf.d");
  std::ofstream(folder + "/nginx.conf") << "events {}\nhttp {\n  include conf.d/*.conf;\n"
                                           "  auth_basic x;\n  auth_basic_user_file users;\n}\n";
  std::ofstream(folder + "/conf.d/a.conf") << "server { listen 127.0.0.1:80; return 404; }\n";
  std::ofstream(folder + "/users") << "";
  fs::current_path(folder);
  const auto lines = [](const AuditResult& result) {
    std::vector<std::uint32_t> out;
    for (const Finding& finding : result.findings) {
      if (finding.rule == "SYS-02") out.push_back(finding.at.line);
    }
    return out;
  };
  EXPECT_EQ(lines(audit({"."})), std::vector<std::uint32_t>{});
  ASSERT_EQ(::chmod("nginx.conf", 0666), 0);
  EXPECT_EQ(lines(audit({"."})), std::vector<std::uint32_t>{1});
  EXPECT_EQ(lines(audit({"nginx.conf"})), std::vector<std::uint32_t>{1});
  ASSERT_EQ(::chmod("nginx.conf", 0644), 0);
  ASSERT_EQ(::chmod("conf.d", 0777), 0);
  EXPECT_EQ(lines(audit({"."})), std::vector<std::uint32_t>{3}) << "the include that takes it in";
  ASSERT_EQ(::chmod("conf.d", 0755), 0);
  ASSERT_EQ(::chmod("users", 0666), 0);
  EXPECT_EQ(lines(audit({folder})), std::vector<std::uint32_t>{5});
  fs::current_path(before);
  fs::remove_all(folder);
}

TEST(Modes, OfLogsThatEveryoneMayReadAreFound) {
  std::string folder = "/var/tmp/merlon-audit-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) GTEST_SKIP() << "/var/tmp cannot be written to";
  const std::string log = folder + "/access.log";
  std::ofstream(log) << "";
  const std::string conf = folder + "/nginx.conf";
  std::ofstream(conf) << "events {}\nhttp {\n  access_log " << log << ";\n}\n";
  const std::string yaml = folder + "/envoy.yaml";
  std::ofstream(yaml) << R"(static_resources: { listeners: [{ name: l, filter_chains: [{ filters: [
  { name: envoy.filters.network.http_connection_manager, typed_config: {
    "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
    access_log: [{ name: f, typed_config: {
      "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog,
      path: )" << log << " } }] } }] }] }] }\n";
  for (const std::string& path : {conf, yaml}) {
    ASSERT_EQ(::chmod(log.c_str(), 0644), 0);
    EXPECT_TRUE(has(audit({path}), "LOG-06")) << path;
    ASSERT_EQ(::chmod(log.c_str(), 0640), 0);
    EXPECT_FALSE(has(audit({path}), "LOG-06")) << path;
  }
  fs::remove_all(folder);
}

}  // namespace
}  // namespace merlon::audit
