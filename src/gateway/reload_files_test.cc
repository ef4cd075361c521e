#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "gateway/load.h"
#include "tls/server_context.h"
#include "tls/test_pki.h"

namespace merlon::gateway {
namespace {

/// A configuration with two certificates, clients that are asked for one, and a schema, in force.
class ReloadFiles : public testing::Test {
 protected:
  void SetUp() override {
    const auto key = tls::test::ec_key();
    const auto pem = [&](long from_days, long to_days, std::string names) {
      return tls::test::pem_of(
          tls::test::make_certificate(
              key.get(), {.names = std::move(names), .from_days = from_days, .to_days = to_days})
              .get());
    };
    a_ = pem(-1, 90, "DNS:a.example");
    renewed_a_ = pem(-1, 91, "DNS:a.example");
    b_ = pem(-1, 90, "DNS:b.example");
    expired_b_ = pem(-90, -1, "DNS:b.example");
    const std::string path = folder_.write("key", tls::test::pem_of(key.get()));
    directory_ = path.substr(0, path.rfind('/'));
    folder_.write("a", a_);
    folder_.write("b", b_);
    folder_.write("ca", a_);
    folder_.write("schema", R"({"type": "object"})", 0644);
    first_ = load_plan_text("merlon.yaml", text(), *broker_, now(), kAtStart);
    ASSERT_NE(first_.plan, nullptr) << first_.diagnostics.render();
    ASSERT_EQ(first_.pairs.at("public").size(), 2U);
  }

  [[nodiscard]] std::string text() const {
    return fmt::format(R"(version: 1
listeners:
  - name: public
    address: 127.0.0.1:8080
    tls:
      certificates:
        - {{ cert: {0}/a, key: {0}/key }}
        - {{ cert: {0}/b, key: {0}/key }}
      client_auth: {{ ca: {0}/ca }}
upstreams: {{ api: {{ endpoints: [127.0.0.1:9000] }} }}
routes:
  - name: all
    match: {{ host: [a.example, b.example], path: /** }}
    methods: [POST]
    auth: none
    upstream: api
    body: {{ content_types: [application/json], schema: {0}/schema }}
)",
                       directory_);
  }
  static WallTime now() { return SystemClock().wall_now(); }
  [[nodiscard]] LoadResult reloaded() const { return reload_files(first_, *broker_, now()); }
  [[nodiscard]] static const tls::ClientAuth& clients_of(const LoadResult& loaded) {
    return *loaded.plan->listeners[0].tls->settings().client_auth;
  }

  const std::unique_ptr<io::Broker> broker_ = io::make_local_broker();
  tls::test::Folder folder_;
  std::string directory_, a_, renewed_a_, b_, expired_b_;
  LoadResult first_;
};

TEST_F(ReloadFiles, AFileThatWentBadLeavesWhatIsInUseAndStopsNoOther) {
  const auto before = first_.pairs.at("public");
  folder_.write("a", renewed_a_);
  for (const std::string& bad : {std::string("nothing"), expired_b_}) {
    folder_.write("b", bad);
    const LoadResult loaded = reloaded();
    ASSERT_NE(loaded.plan, nullptr) << loaded.diagnostics.render();
    const auto& pairs = loaded.pairs.at("public");
    ASSERT_EQ(pairs.size(), 2U);
    EXPECT_NE(pairs[0], before[0]) << "renewed";
    EXPECT_EQ(pairs[1], before[1]) << "kept";
    ASSERT_EQ(loaded.bad_files.size(), 1U);
    EXPECT_EQ(loaded.bad_files[0].at.line, 8U);
    EXPECT_TRUE(loaded.plan->closed.empty());
  }
}

// Files that were mixed up must not close a name that is served.
TEST_F(ReloadFiles, APairThatLostTheHostOfARouteIsNotTakenUnlessAnotherHasIt) {
  const auto before = first_.pairs.at("public");
  const auto of = [](const LoadResult& loaded, std::size_t i) {
    return loaded.pairs.at("public")[i];
  };
  folder_.write("a", b_);
  const LoadResult lost = reloaded();
  ASSERT_NE(lost.plan, nullptr) << lost.diagnostics.render();
  EXPECT_EQ(of(lost, 0), before[0]);
  ASSERT_EQ(lost.bad_files.size(), 1U);
  EXPECT_EQ(lost.bad_files[0].rule, "cert-san-mismatch");
  EXPECT_EQ(lost.bad_files[0].at.line, 7U);

  folder_.write("b", renewed_a_);
  const LoadResult moved = reloaded();
  EXPECT_TRUE(moved.bad_files.empty());
  EXPECT_NE(of(moved, 0), before[0]);
  EXPECT_NE(of(moved, 1), before[1]);
}

TEST_F(ReloadFiles, AuthoritiesThatCannotBeReadStayAndNobodyElseGetsIn) {
  folder_.write("a", renewed_a_);
  const auto before = first_.pairs.at("public");
  for (const std::string_view bad : {"nothing", ""}) {
    folder_.write("ca", std::string(bad));
    const LoadResult loaded = reloaded();
    ASSERT_NE(loaded.plan, nullptr) << loaded.diagnostics.render();
    EXPECT_EQ(clients_of(loaded).ca_pem, a_);
    EXPECT_NE(loaded.pairs.at("public")[0], before[0]);
    EXPECT_FALSE(loaded.bad_files.empty());
    EXPECT_EQ(loaded.plan->hash, first_.plan->hash) << "of what is in force, not of what is there";
    EXPECT_EQ(reload_files(loaded, *broker_, now()).plan->hash, first_.plan->hash);
  }
  folder_.write("ca", b_);
  EXPECT_EQ(clients_of(reloaded()).ca_pem, b_);
  EXPECT_NE(reloaded().plan->hash, first_.plan->hash);
}

// A reload of the text that is in force: no date refuses it, but what is not in use is no date.
TEST_F(ReloadFiles, OnlyWhatIsInUseMayHaveEnded) {
  const auto only_those = [&](WallTime today) {
    const LoadResult fresh = load_plan_text("merlon.yaml", text(), *broker_, today, kUnchanged);
    EXPECT_NE(fresh.plan, nullptr) << fresh.diagnostics.render();
    return fresh.plan != nullptr && only_those_in_use_ended(fresh, first_, today);
  };
  EXPECT_TRUE(only_those(now()));
  EXPECT_TRUE(only_those(now() + std::chrono::days{999})) << "all of them have ended";
  for (const auto& [file, good] : {std::pair{"b", b_}, {"ca", a_}}) {
    folder_.write(file, expired_b_);
    EXPECT_FALSE(only_those(now())) << file;
    folder_.write(file, good);
    EXPECT_TRUE(only_those(now())) << file;
  }
}

TEST_F(ReloadFiles, WhatIsNotWatchedStaysAsItWas) {
  folder_.write("schema", "{ half written", 0644);
  folder_.write("a", renewed_a_);
  const LoadResult loaded = reloaded();
  ASSERT_NE(loaded.plan, nullptr) << loaded.diagnostics.render();
  EXPECT_TRUE(loaded.bad_files.empty());
  EXPECT_EQ(loaded.plan->hash, first_.plan->hash) << "certificates are not in it";
  // And of what was loaded so, the next is made.
  EXPECT_NE(reload_files(loaded, *broker_, now()).plan, nullptr);
}

}  // namespace
}  // namespace merlon::gateway
