#include "identity/agent.h"

#include <gtest/gtest.h>

#include <future>
#include <optional>

#include "io/broker.h"
#include "tls/test_pki.h"

namespace merlon::identity {
namespace {

/// Providers whose servers nobody listens for: port 1 of this host.
class AgentTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::shared_ptr<const Provider> issuer(const std::string& host = "127.0.0.1") {
    ProviderConfig config = base();
    config.issuer = {.value = "https://id.example.com/", .at = {}};
    config.audiences = {{.value = "api", .at = {}}};
    config.jwks_uri = {.value = *upstream::parse_https_url("https://" + host + ":1/jwks"),
                       .at = {}};
    return load(config);
  }
  [[nodiscard]] std::shared_ptr<const Provider> opaque(const std::string& name = "entry") {
    ProviderConfig config = base();
    IntrospectionConfig asks;
    asks.url.value = *upstream::parse_https_url("https://127.0.0.1:1/introspect");
    asks.client_id = "gateway";
    asks.secret_file = tls::test::file_at(folder_.write("secret", "s3cret\n", 0600), 1);
    config.introspection = asks;
    return load(config, name);
  }
  [[nodiscard]] static std::shared_ptr<Errand> errand(Errand::Kind kind,
                                                      std::shared_ptr<const Provider> provider) {
    auto made = std::make_shared<Errand>();
    made->kind = kind;
    made->provider = std::move(provider);
    made->subject = "k1";
    return made;
  }
  /// What the agent answers; nullopt when it says nothing for long.
  [[nodiscard]] static std::optional<std::uint16_t> code_of(Agent& agent,
                                                            std::shared_ptr<Errand> errand) {
    const auto promise = std::make_shared<std::promise<std::uint16_t>>();
    auto answer = promise->get_future();
    agent.run(std::move(errand), [promise](const ErrandAnswer& found) {
      promise->set_value(found.identity ? std::uint16_t{0} : found.identity.error().code);
    });
    if (answer.wait_for(seconds{60}) != std::future_status::ready) return std::nullopt;
    return answer.get();
  }

  const SystemClock clock_;
  const std::unique_ptr<io::Broker> broker_ = io::make_local_broker();

 private:
  [[nodiscard]] ProviderConfig base() {
    ProviderConfig config;
    config.tls.emplace();
    config.tls->ca = tls::test::file_at(folder_.write("ca.pem", pki_.root_pem(), 0640), 1);
    return config;
  }
  [[nodiscard]] std::shared_ptr<const Provider> load(const ProviderConfig& config,
                                                     const std::string& name = "entry") {
    Diagnostics out;
    auto provider = Provider::load(name, config, {}, *broker_, out);
    EXPECT_NE(provider, nullptr) << out.render();
    return provider;
  }

  tls::test::Folder folder_;
  tls::test::Pki pki_;
};

TEST_F(AgentTest, WhatCannotBeFetchedIsSaidSo) {
  Agent agent(*broker_, clock_, nullptr);
  const auto provider = issuer();
  agent.adopt({provider});
  EXPECT_EQ(code_of(agent, errand(Errand::Kind::kKeys, provider)), code::kKeysUnavailable);
  EXPECT_FALSE(provider->key_source()->live->starting());
  EXPECT_TRUE(provider->key_source()->live->failing());
  const auto status = agent.status();
  ASSERT_EQ(status.size(), 1U);
  EXPECT_EQ(status.front().keys, 0U);
  EXPECT_GE(status.front().failed, 1U);
}

TEST_F(AgentTest, WhoeverIsAdoptedIsListedAtOnce) {
  Agent agent(*broker_, clock_, nullptr);
  agent.adopt({issuer(), opaque("asked")});
  const auto status = agent.status();
  ASSERT_EQ(status.size(), 2U);
  EXPECT_FALSE(status.front().introspects);
  EXPECT_EQ(status.front().keys, 0U);
  EXPECT_TRUE(status.back().introspects);
}

TEST_F(AgentTest, AServerThatIsNotThereIsNoAnswer) {
  Agent agent(*broker_, clock_, nullptr);
  const auto provider = opaque();
  agent.adopt({provider});
  const auto about = errand(Errand::Kind::kIntrospection, provider);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(code_of(agent, about), code::kIntrospectionFailed);
  EXPECT_EQ(agent.status().front().failed, 3U) << "then it is left alone for a while";
}

TEST_F(AgentTest, ErrandsForStrangersAreRefused) {
  Agent agent(*broker_, clock_, nullptr);
  EXPECT_EQ(code_of(agent, errand(Errand::Kind::kKeys, issuer())), code::kKeysUnavailable);
  EXPECT_EQ(code_of(agent, errand(Errand::Kind::kIntrospection, opaque())),
            code::kIntrospectionFailed);
}

TEST_F(AgentTest, ComesAndGoesWithItsProviders) {
  for (int i = 0; i < 20; ++i) {
    Agent agent(*broker_, clock_, nullptr);
    const auto one = issuer();
    const auto two = opaque();
    agent.adopt({one, two});
    agent.adopt({});
    agent.adopt({one});
    if (i % 2 == 0) {
      EXPECT_TRUE(code_of(agent, errand(Errand::Kind::kKeys, one)).has_value());
    }
    // And goes while it fetches, or looks up a name.
    agent.adopt({one, issuer("nobody.invalid")});
  }
}

}  // namespace
}  // namespace merlon::identity
