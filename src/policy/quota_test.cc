#include "policy/quota.h"

#include <gtest/gtest.h>

#include "policy/test_request.h"
#include "state/quota_counts.h"

namespace merlon::policy {
namespace {

using Kind = Decision::Kind;

/// Requests of one identity, and the quotas that it has used.
class Caller {
 public:
  explicit Caller(std::string_view policies) : route_(policies) {
    EXPECT_TRUE(route_.ok()) << route_.diagnostics.render();
  }

  [[nodiscard]] std::unique_ptr<AskedRequest> request() {
    auto asked = std::make_unique<AskedRequest>("GET /x HTTP/1.1\r\nHost: a.test");
    asked->context().quotas = &counts_;
    asked->context().identity = who_;
    asked->context().wall = now;
    return asked;
  }
  /// How many of so many requests in a row are let through.
  [[nodiscard]] int passed(int requests) {
    int passed = 0;
    for (int i = 0; i < requests; ++i) passed += judge(*request()) == Kind::kNext ? 1 : 0;
    return passed;
  }
  [[nodiscard]] Kind judge(AskedRequest& asked) const { return asked.judge(route_).kind; }

  WallTime now{std::chrono::days{20'000}};  ///< a midnight

 private:
  const CompiledPolicies route_;
  const std::shared_ptr<const identity::Identity> who_ =
      identity::Identity::make({.subject = "ann", .client_id = {}});
  state::QuotaCounts counts_;
};

TEST(Quota, WhatAShorterOneRefusesUsesUpNoLongerOne) {
  for (const char* const written : {"quota: [{ limit: 40/day }, { limit: 5/h }]",
                                    "quota: [{ limit: 5/h }, { limit: 40/day }]"}) {
    Caller caller(written);
    for (int hour = 0; hour < 8; ++hour) {
      EXPECT_EQ(caller.passed(50), 5) << written;
      caller.now += std::chrono::hours{1};
    }
    EXPECT_EQ(caller.passed(50), 0) << "the day's is used up";
  }
}

TEST(Quota, ARequestBeyondThePlacesUsesUpNone) {
  Caller caller("quota: { limit: 3/day }\nconcurrency: { limit: 1, per: identity }");
  auto in_progress = caller.request();
  ASSERT_EQ(caller.judge(*in_progress), Kind::kNext);
  EXPECT_EQ(caller.passed(10), 0);
  in_progress.reset();
  EXPECT_EQ(caller.passed(10), 2);
}

}  // namespace
}  // namespace merlon::policy
