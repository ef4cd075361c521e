#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "audit/audit.h"

namespace merlon::audit {
namespace {

struct Case {
  const char* name;
  const char* path;
  const char* text;
  Kind want;
};

class DetectedKind : public testing::TestWithParam<Case> {};

TEST_P(DetectedKind, IsThatOfTheText) {
  EXPECT_EQ(detect_kind(GetParam().path, GetParam().text), GetParam().want);
}

const Case kCases[] = {
    {"merlon", "gateway.yaml", "version: 1\nlisteners: []\nroutes: []\n", Kind::kMerlon},
    {"merlon_as_json", "gateway.json", "{\"version\": 1, \"listeners\": [], \"routes\": []}",
     Kind::kMerlon},
    {"merlon_as_indented_json", "gateway", "\n{\n  \"routes\" : [],\n  \"version\"\n : 1\n}\n",
     Kind::kMerlon},
    {"json_of_another_version", "package.json", "{\"version\": \"1.0.0\", \"routes\": []}",
     Kind::kUnknown},
    {"json_of_a_later_version", "a.json", "{\"version\": 12, \"routes\": []}", Kind::kUnknown},
    {"json_of_something_else", "a.json", "{\"version\": 1, \"files\": [\"routes\"]}",
     Kind::kUnknown},
    {"envoy_as_json", "envoy.json", "{\"version\": 1, \"listeners\": [], \"static_resources\": {}}",
     Kind::kEnvoy},
    {"config_map_of_nginx", "cm.yml",
     "apiVersion: v1\nkind: ConfigMap\ndata:\n  nginx.conf: |\n    events {}\n"
     "    http { server { listen 80; } }\n",
     Kind::kUnknown},
    {"config_map_of_envoy", "cm.yaml",
     "apiVersion: v1\nkind: ConfigMap\ndata:\n  e.yaml: |\n    static_resources: {}\n",
     Kind::kEnvoy},
    {"nginx", "a.conf", "server { listen 80; }\n", Kind::kNginx},
};

INSTANTIATE_TEST_SUITE_P(Audit, DetectedKind, testing::ValuesIn(kCases),
                         [](const auto& test) { return test.param.name; });

TEST(KubernetesObject, OfAnotherLanguageIsSaidToBeOne) {
  const AuditResult result = audit_text(
      "cm.yml", "apiVersion: v1\nkind: ConfigMap\ndata:\n  nginx.conf: |\n    events {}\n");
  ASSERT_EQ(result.gaps.size(), 1U);
  EXPECT_NE(result.gaps[0].what.find("ConfigMaps"), std::string::npos);
}

/// What stands where a directive's name belongs.
TEST(NginxNames, AreOfLettersDigitsAndUnderscores) {
  const auto gaps = [](const std::string& name) {
    Options options;
    options.kind = Kind::kNginx;
    return audit_text("t.conf", "events {}\nhttp { server { listen 80; " + name + " on; } }\n",
                      options)
        .gaps.size();
  };
  for (const char* name : {"our_module", "MainRule", "set_by_lua_2"}) EXPECT_EQ(gaps(name), 0U);
  for (const char* name : {"%%HSTS%%", "autoindex\xC2\xA0", "auto\vindex", "$foo", "${EXTRA}",
                           "more-set-headers", "proxy_pass=x"}) {
    EXPECT_EQ(gaps(name), 1U) << name;
  }
}

TEST(NginxNames, OfATemplateAreSaidToBeThat) {
  const AuditResult result = audit_text(
      "nginx.conf", "events {}\nhttp { server { listen 80; %%HSTS%%\nautoindex on; } }\n");
  ASSERT_EQ(result.gaps.size(), 1U);
  EXPECT_NE(result.gaps[0].what.find("template"), std::string::npos);
}

}  // namespace
}  // namespace merlon::audit
