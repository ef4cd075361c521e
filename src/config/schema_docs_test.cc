#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "config/test_schema.h"

namespace merlon::config::test {
namespace {

// ---- Effective values ----

TEST(Effective, ListsEveryValueWithItsOrigin) {
  const Loaded l = load_config(kGood);
  ASSERT_TRUE(l.config.has_value()) << l.out.render();
  std::map<std::string, std::string> rows;
  for (const EffectiveRow& row : effective(config_schema(), *l.config, &l.tree->root())) {
    EXPECT_TRUE(rows.emplace(row.place, row.value + " @ " + row.origin()).second) << row.place;
  }
  const std::string file = " @ /etc/merlon/m.yaml:";
  EXPECT_EQ(rows["version"], "1" + file + "1");
  EXPECT_EQ(rows["upstreams.orders.protocol"], "h2" + file + "6");
  EXPECT_EQ(rows["upstreams.orders.endpoints.0"], "10.0.0.1:80" + file + "5");
  EXPECT_EQ(rows["upstreams.orders.endpoints.1.weight"], "7" + file + "5");
  EXPECT_EQ(rows["upstreams.orders.tls.server_name"], "the host of the endpoint @ default");
  EXPECT_EQ(rows["upstreams.orders.timeouts.connect"], "1s @ default");
  EXPECT_EQ(rows["upstreams.orders.timeouts.response"], "2min" + file + "8");
  EXPECT_EQ(rows["routes.a.auth"], "none" + file + "12");
  EXPECT_EQ(rows["routes.a.rate_limit.rate"], "10/s" + file + "13");
  EXPECT_EQ(rows["routes.b.rate_limit.1.rate"], "100/h" + file + "19");
  EXPECT_EQ(rows["routes.b.body"], "1MiB @ default");
  EXPECT_EQ(rows["routes.a.hosts"], "[x.example]" + file + "16");
  EXPECT_EQ(rows["trusted"], "[10.0.0.0/8, 2001:db8::/32]" + file + "2");
}

TEST(Effective, PlacesAreThoseThatWaiversName) {
  const Loaded l = load_config(kGood);
  for (const EffectiveRow& row : effective(config_schema(), *l.config, &l.tree->root())) {
    if (row.at.known()) {
      EXPECT_NE(resolve(l.tree->root(), row.place), nullptr) << row.place;
    }
  }
}

TEST(Effective, DefaultsComeFromTheStruct) {
  const auto rows = effective(route_schema(), Route{}, nullptr);
  ASSERT_FALSE(rows.empty());
  for (const EffectiveRow& row : rows) EXPECT_EQ(row.origin(), "default");
}

// ---- Documentation ----

TEST(JsonSchema, DescribesEveryKeyAndClosesEveryObject) {
  const auto schema = nlohmann::json::parse(json_schema(config_schema()));
  EXPECT_EQ(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
  EXPECT_EQ(schema["additionalProperties"], false);
  EXPECT_EQ(schema["required"], nlohmann::json::array({"version"}));
  EXPECT_TRUE(schema["properties"].contains("include"));
  EXPECT_TRUE(schema["properties"].contains("waivers"));
  for (const auto& [name, definition] : schema["$defs"].items()) {
    EXPECT_EQ(definition["additionalProperties"], false) << name;
    for (const auto& [key, property] : definition["properties"].items()) {
      EXPECT_FALSE(property["description"].get<std::string>().empty()) << name << "." << key;
    }
  }
  const auto& upstream = schema["$defs"]["upstream"]["properties"];
  EXPECT_FALSE(upstream.contains("outlier"));
  EXPECT_EQ(upstream["protocol"]["enum"], nlohmann::json::array({"http1", "h2"}));
  EXPECT_EQ(upstream["tls"]["$ref"], "#/$defs/upstream-tls");
  EXPECT_EQ(upstream["endpoints"]["minItems"], 1);
  EXPECT_EQ(schema["$defs"]["rate-limit"]["properties"]["burst"]["maximum"], 1000);
}

TEST(JsonSchema, NamesObjectsApartThatShareAName) {
  struct Inner {
    bool x = false;
  };
  static const auto one = Object<Inner>("tls", "One.").field("x", &Inner::x, boolean(), "X.");
  static const auto two = Object<Inner>("tls", "Two.").field("x", &Inner::x, boolean(), "X.");
  struct Outer {
    Inner a;
    Inner b;
  };
  const auto root = Object<Outer>("root", "Root.")
                        .field("a", &Outer::a, object(one), "A.")
                        .field("b", &Outer::b, object(two), "B.");
  const auto schema = nlohmann::json::parse(json_schema(root));
  EXPECT_EQ(schema["properties"]["a"]["$ref"], "#/$defs/tls");
  EXPECT_EQ(schema["properties"]["b"]["$ref"], "#/$defs/tls-2");
  EXPECT_EQ(schema["$defs"]["tls-2"]["description"], "Two.");
}

TEST(Reference, HasARowForEveryKeyWithItsDefault) {
  const std::string page = reference_markdown(config_schema());
  for (const char* part :
       {"## configuration", "## upstream tls", "| `version` |", "[upstream](#upstream)",
        "| `protocol` | one of `http1`, `h2` | `http1` | What it speaks. |",
        "| `body` | an amount of bytes from 1KiB to 8MiB | `1MiB` | The largest \\| body. |",
        "| `ca` | the name of a file | required | Roots that are trusted. |",
        "| `server_name` | text of up to 253 bytes | the host of the endpoint |",
        "`outlier` (outlier detection)", "| `include` |"}) {
    EXPECT_NE(page.find(part), std::string::npos) << part << "\n" << page;
  }
}

}  // namespace
}  // namespace merlon::config::test
