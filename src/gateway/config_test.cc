#include "gateway/config.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

namespace merlon::gateway {
namespace {

using config::ObjectBase;
using config::Shape;

void collect(const ObjectBase& object, std::map<std::string, const ObjectBase*>& all);
void collect(const Shape& shape, std::map<std::string, const ObjectBase*>& all) {
  if (shape.object != nullptr) collect(*shape.object, all);
  for (const auto& part : shape.parts) collect(*part, all);
}
void collect(const ObjectBase& object, std::map<std::string, const ObjectBase*>& all) {
  if (!all.emplace(object.name(), &object).second) return;
  for (const ObjectBase::Key& key : object.keys()) {
    if (key.shape != nullptr) collect(*key.shape, all);
  }
}

std::map<std::string, const ObjectBase*> objects() {
  std::map<std::string, const ObjectBase*> all;
  collect(config_schema(), all);
  return all;
}

/// Every key of the language is known: read, or refused by name until its part is built.
TEST(Language, IsKnownWhole) {
  const std::map<std::string, std::set<std::string>> language = {
      {"configuration",
       {"version", "include", "listeners", "trusted_proxies", "limits", "timeouts", "identity",
        "upstreams", "routes", "shared_state", "admin", "log", "snmp", "firewall", "user",
        "waivers"}},
      {"listener",
       {"name", "address", "redirect_from", "proxy_protocol", "allow_from", "serve", "tls"}},
      {"limits",
       {"workers", "connections", "connections_per_client", "requests_in_flight", "memory"}},
      {"timeouts", {"handshake", "head", "idle", "drain"}},
      {"upstream",
       {"endpoints", "protocol", "host", "balance", "tls", "health", "outlier", "retry", "limits",
        "timeouts"}},
      {"upstream limits", {"connections", "pending"}},
      {"upstream timeouts", {"connect", "response", "idle"}},
      {"route",
       {"name", "match", "methods", "auth", "rate_limit", "quota", "concurrency", "cors", "body",
        "rewrite", "headers", "forward", "websocket", "timeout", "upstream", "respond"}},
      {"match", {"host", "path"}},
      {"auth", {"jwt", "introspect", "api_key", "scopes", "claims", "client_cert"}},
      {"cors", {"origins", "methods", "headers", "expose", "credentials", "max_age"}},
      {"body", {"max", "content_types", "json_depth", "schema"}},
      {"rewrite", {"strip_prefix", "add_prefix"}},
      {"headers", {"set", "remove"}},
      {"forward", {"authorization", "identity", "client_cert"}},
      {"respond", {"status", "body", "content_type"}},
      {"admin", {"socket", "address"}},
      {"log", {"access", "process", "level"}},
  };
  const auto all = objects();
  for (const auto& [name, keys] : language) {
    ASSERT_TRUE(all.contains(name)) << name;
    std::set<std::string> known;
    for (const ObjectBase::Key& key : all.at(name)->keys()) known.insert(key.name);
    EXPECT_EQ(known, keys) << name;
  }
}

TEST(Language, EveryKeyIsDocumented) {
  for (const auto& [name, object] : objects()) {
    EXPECT_FALSE(object->summary().empty()) << name;
    for (const ObjectBase::Key& key : object->keys()) {
      EXPECT_FALSE(key.doc.empty()) << name << " " << key.name;
    }
  }
}

TEST(Language, JsonSchemaIsJson) {
  const auto schema = nlohmann::json::parse(config::json_schema(config_schema()), nullptr, false);
  ASSERT_FALSE(schema.is_discarded());
  EXPECT_TRUE(schema.contains("$schema"));
}

/// `merlon schema --markdown > docs/reference.md` brings it up to date.
TEST(Language, TheReferencePageIsUpToDate) {
  std::ifstream file(MERLON_SOURCE_DIR "/docs/reference.md", std::ios::binary);
  const std::string page{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(page, config::reference_markdown(config_schema()));
}

TEST(Language, DefaultsAreShownWithTheirOrigin) {
  const Config defaults;
  const auto rows = config::effective(config_schema(), defaults, nullptr);
  const auto row = std::ranges::find(rows, "limits.connections", &config::EffectiveRow::place);
  ASSERT_NE(row, rows.end());
  EXPECT_EQ(row->value, "20000");
  EXPECT_EQ(row->origin(), "default");
}

}  // namespace
}  // namespace merlon::gateway
