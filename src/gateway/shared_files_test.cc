#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "gateway/load.h"
#include "gateway/policy_files.h"
#include "tls/client_context.h"
#include "tls/test_pki.h"

namespace merlon::gateway {
namespace {

/// A configuration that shows Redis a certificate and a password.
class SharedFiles : public testing::Test {
 protected:
  void SetUp() override {
    const auto key = tls::test::ec_key();
    const auto pem = [&](long from_days, long to_days) {
      return tls::test::pem_of(
          tls::test::make_certificate(
              key.get(), {.names = "DNS:gateway", .from_days = from_days, .to_days = to_days})
              .get());
    };
    good_ = pem(-1, 90);
    renewed_ = pem(-1, 91);
    expired_ = pem(-90, -1);
    const std::string path = folder_.write("key", tls::test::pem_of(key.get()));
    directory_ = path.substr(0, path.rfind('/'));
    folder_.write("cert", good_);
    folder_.write("ca", good_);
    folder_.write("password", "one\n");
  }

  [[nodiscard]] LoadResult load(LoadMode mode) const {
    const std::string text = fmt::format(R"(version: 1
listeners: [{{ name: public, address: 127.0.0.1:8080 }}]
upstreams: {{ api: {{ endpoints: [127.0.0.1:9000] }} }}
routes:
  - name: all
    match: {{ host: "*", path: /** }}
    methods: [GET]
    auth: none
    upstream: api
    rate_limit: {{ rate: 9/s, shared: true }}
shared_state:
  nodes: 1
  redis:
    address: 127.0.0.1:6379
    tls: {{ ca: {0}/ca, cert: {0}/cert, key: {0}/key }}
    password_file: {0}/password
)",
                                         directory_);
    return load_plan_text("merlon.yaml", text, *broker_, now(), mode);
  }
  [[nodiscard]] LoadResult reloaded(const LoadResult& in_force) const {
    return reload_files(in_force, *broker_, now());
  }
  static WallTime now() { return SystemClock().wall_now(); }
  static const state::redis::Settings& redis_of(const LoadResult& loaded) {
    return *loaded.plan->shared_state->redis;
  }
  static bool is_closed(const LoadResult& loaded) {
    const bool told =
        std::ranges::find(loaded.plan->closed, "shared_state") != loaded.plan->closed.end();
    EXPECT_EQ(told, redis_of(loaded).closed);
    return told;
  }

  const std::unique_ptr<io::Broker> broker_ = io::make_local_broker();
  tls::test::Folder folder_;
  std::string directory_, good_, renewed_, expired_;
};

TEST_F(SharedFiles, AllOfThemTakeEffectWhenTheyChange) {
  const LoadResult loaded = load(kStrict);
  ASSERT_NE(loaded.plan, nullptr) << loaded.diagnostics.render();
  EXPECT_FALSE(is_closed(loaded));
  const auto watched = watched_files(loaded.config);
  for (const char* name : {"ca", "cert", "key", "password"}) {
    EXPECT_NE(std::ranges::find(watched, fmt::format("{}/{}", directory_, name)), watched.end())
        << name;
  }
  EXPECT_TRUE(unwatched_files(loaded.config).empty());
}

TEST_F(SharedFiles, ABadOneStopsACheckButNoStart) {
  struct Case {
    const char* file;
    const char* text;
    unsigned mode;
  };
  constexpr Case kCases[] = {{"ca", "nothing", 0600},  {"cert", "nothing", 0600},
                             {"key", "nothing", 0600}, {"key", "", 0600},
                             {"password", "", 0600},   {"password", "\nsecond line", 0600},
                             {"password", "one", 0644}};
  for (const Case& test : kCases) {
    SetUp();
    folder_.write(test.file, test.text, test.mode);
    EXPECT_EQ(load(kStrict).plan, nullptr) << test.file;
    EXPECT_EQ(load(kUnchanged).plan, nullptr) << test.file;
    const LoadResult started = load(kAtStart);
    ASSERT_NE(started.plan, nullptr) << started.diagnostics.render();
    EXPECT_TRUE(is_closed(started)) << test.file;
    EXPECT_FALSE(started.bad_files.empty());
    SetUp();
    const LoadResult mended = reloaded(started);
    ASSERT_NE(mended.plan, nullptr) << mended.diagnostics.render();
    EXPECT_FALSE(is_closed(mended)) << test.file;
    EXPECT_NE(mended.plan->shared_state->identity, started.plan->shared_state->identity);
  }
}

TEST_F(SharedFiles, ADateStopsNoStartAndNoReloadOfTheTextInForce) {
  const LoadResult before = load(kStrict);
  folder_.write("cert", expired_);
  EXPECT_EQ(load(kStrict).plan, nullptr);
  const LoadResult started = load(kAtStart);
  ASSERT_NE(started.plan, nullptr) << started.diagnostics.render();
  EXPECT_FALSE(is_closed(started));
  ASSERT_EQ(started.bad_files.size(), 1U);
  EXPECT_EQ(started.bad_files[0].rule, "cert-expired");
  const LoadResult again = load(kUnchanged);
  ASSERT_NE(again.plan, nullptr) << again.diagnostics.render();
  EXPECT_TRUE(only_those_in_use_ended(again, started, now()));
  EXPECT_FALSE(only_those_in_use_ended(again, before, now())) << "it is another certificate";
}

TEST_F(SharedFiles, OneThatWentBadLeavesWhatIsInUseAndStopsNoOther) {
  const LoadResult first = load(kStrict);
  ASSERT_NE(first.plan, nullptr) << first.diagnostics.render();
  folder_.write("password", "");
  folder_.write("ca", "nothing");
  folder_.write("cert", renewed_);
  const LoadResult loaded = reloaded(first);
  ASSERT_NE(loaded.plan, nullptr) << loaded.diagnostics.render();
  EXPECT_FALSE(is_closed(loaded));
  EXPECT_EQ(loaded.bad_files.size(), 2U);
  EXPECT_EQ(redis_of(loaded).password.reveal(), "one");
  EXPECT_FALSE(
      tls::same_certificate(*redis_of(loaded).tls->client(), *redis_of(first).tls->client()))
      << "renewed";
  folder_.write("cert", expired_);
  const LoadResult kept = reloaded(loaded);
  ASSERT_NE(kept.plan, nullptr) << kept.diagnostics.render();
  EXPECT_TRUE(
      tls::same_certificate(*redis_of(kept).tls->client(), *redis_of(loaded).tls->client()));
}

TEST_F(SharedFiles, ANewPasswordIsTaken) {
  const LoadResult first = load(kStrict);
  folder_.write("password", "two\n");
  const LoadResult loaded = reloaded(first);
  ASSERT_NE(loaded.plan, nullptr) << loaded.diagnostics.render();
  EXPECT_EQ(redis_of(loaded).password.reveal(), "two");
  EXPECT_NE(loaded.plan->shared_state->identity, first.plan->shared_state->identity);
}

}  // namespace
}  // namespace merlon::gateway
