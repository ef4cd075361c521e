#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gateway/load.h"

namespace merlon::gateway {
namespace {

using Json = nlohmann::json;

/// Every section but `identity`, which loads the authorities of the system, and no file.
constexpr const char* kWhole = R"json({
  "version": 1,
  "listeners": [
    {"name": "public", "address": "127.0.0.1:8080", "proxy_protocol": true, "allow_from": ["127.0.0.0/8"]},
    {"name": "status", "address": "127.0.0.1:8081", "serve": ["health", "metrics"]}],
  "trusted_proxies": ["127.0.0.0/8"],
  "upstreams": {
    "api": {"endpoints": ["127.0.0.1:9000", "127.0.0.1:9001"], "balance": "least_requests",
            "timeouts": {"connect": "1s", "response": "5s", "idle": "9s"},
            "limits": {"connections": 9, "pending": 9},
            "health": {"path": "/healthz", "interval": "5s"}}},
  "shared_state": {"redis": {"address": "127.0.0.1:6379", "timeout": "100ms"}, "nodes": 2},
  "routes": [
    {"name": "orders", "match": {"host": ["a.example", "b.example"], "path": "/orders/**"},
     "methods": ["GET", "POST"], "auth": "none",
     "upstream": "api", "rewrite": {"add_prefix": "/v2"},
     "headers": {"set": {"X-A": "b", "Permissions-Policy": "geolocation=()"}, "remove": ["X-C"]},
     "rate_limit": {"rate": "5/s", "burst": 9, "shared": true,
                    "classes": [{"name": "near", "networks": ["127.0.0.0/8"], "rate": "9/s"}]},
     "concurrency": {"limit": 5},
     "cors": {"origins": ["https://a.example"], "methods": ["GET"]},
     "body": {"max": "1MiB", "content_types": ["application/json"]}, "timeout": "9s"},
    {"name": "hello", "match": {"host": "a.example", "path": "/"}, "methods": ["GET"], "auth": "none",
     "respond": {"status": 200, "body": "hi"}}],
  "limits": {"workers": 1, "connections_per_client": 50},
  "timeouts": {"head": "5s", "drain": "9s"},
  "log": {"access": "stdout", "level": "info"},
  "admin": {"address": "127.0.0.1:9901"},
  "waivers": []
})json";

bool loads(const Json& config) {
  const auto broker = io::make_local_broker();
  const auto today = std::chrono::sys_days{std::chrono::January / 1 / 2027};
  return load_plan_text("merlon.yaml", config.dump(), *broker, today, kStrict).plan != nullptr;
}

/// Every object and list of `at`, and what is in them, as pointers from the root.
void collect(const Json& at, const Json::json_pointer& here, std::vector<Json::json_pointer>& out) {
  if (at.is_object()) {
    for (const auto& [key, value] : at.items()) {
      out.push_back(here / key);
      collect(value, here / key, out);
    }
  } else if (at.is_array()) {
    for (std::size_t i = 0; i < at.size(); ++i) {
      out.push_back(here / i);
      collect(at[i], here / i, out);
    }
  }
}

TEST(HollowConfig, IsReadWhole) { EXPECT_TRUE(loads(Json::parse(kWhole))); }

// Whatever is missing or of another kind ends in an error at most: no part may count on another
// one.
TEST(HollowConfig, LacksAnyPartWithoutACrash) {
  const Json whole = Json::parse(kWhole);
  std::vector<Json::json_pointer> places;
  collect(whole, Json::json_pointer(), places);
  ASSERT_GT(places.size(), 80U);
  const std::vector<Json> others = {nullptr, Json::array(), Json::object(), "x"};
  for (const Json::json_pointer& place : places) {
    SCOPED_TRACE(place.to_string());
    Json without = whole;
    Json& parent = without[place.parent_pointer()];
    if (parent.is_object()) {
      parent.erase(place.back());
    } else {
      parent.erase(std::stoul(place.back()));
    }
    static_cast<void>(loads(without));
    for (const Json& other : others) {
      Json changed = whole;
      changed[place] = other;
      static_cast<void>(loads(changed));
    }
  }
}

}  // namespace
}  // namespace merlon::gateway
