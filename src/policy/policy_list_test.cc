#include "policy/policy_list.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <new>
#include <string>

#include "policy/test_request.h"

namespace {
std::atomic<std::size_t> allocations{0};
}  // namespace

// Every allocation of this program is counted, so that a judge that allocates is seen.
void* operator new(std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* at = std::malloc(size == 0 ? 1 : size)) return at;
  throw std::bad_alloc();
}
void* operator new(std::size_t size, const std::nothrow_t& /*tag*/) noexcept {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return std::malloc(size == 0 ? 1 : size);
}
void operator delete(void* at) noexcept { std::free(at); }
void operator delete(void* at, std::size_t /*size*/) noexcept { std::free(at); }

namespace merlon::policy {
namespace {

/// What holds for every policy, whatever it judges.
TEST(PolicyList, ExamplesCompileToJudgesAtTheirSteps) {
  for_each([]<class P>() {
    const CompiledPolicies compiled(fmt::format("{}: {}", P::kKey, P::kExample));
    ASSERT_TRUE(compiled.ok()) << P::kKey << "\n" << compiled.diagnostics.render();
    ASSERT_FALSE(compiled.judges.empty()) << P::kKey;
    EXPECT_EQ(compiled.judges.front()->step(), P::kStep);
    for (const auto& judge : compiled.judges) {
      EXPECT_EQ(judge->name(), P::kKey);
      EXPECT_GE(judge->step(), P::kStep);
      EXPECT_TRUE(judge->at().known()) << P::kKey;
    }
  });
}

TEST(PolicyList, NothingIsJudgedWithoutConfiguration) {
  const CompiledPolicies compiled("");
  ASSERT_TRUE(compiled.ok()) << compiled.diagnostics.render();
  EXPECT_TRUE(compiled.judges.empty());
}

TEST(PolicyList, UnknownKeysAreRefusedByName) {
  for_each([]<class P>() {
    std::string example(P::kExample);
    const std::size_t brace = example.find('{');
    ASSERT_NE(brace, std::string::npos) << P::kKey;
    example.insert(brace + 1, " nonsense: 1,");
    const CompiledPolicies compiled(fmt::format("{}: {}", P::kKey, example));
    EXPECT_FALSE(compiled.ok()) << P::kKey;
    EXPECT_NE(compiled.diagnostics.render().find("nonsense"), std::string::npos) << P::kKey;
  });
}

TEST(PolicyList, JudgingAllocatesNothing) {
  constexpr std::string_view kHeads[] = {
      "GET /x HTTP/1.1\r\nHost: a.test",
      "GET /x HTTP/1.1\r\nHost: a.test\r\nOrigin: https://app.example.com",
      "GET /x HTTP/1.1\r\nHost: a.test\r\nOrigin: https://evil.example",
      "OPTIONS /x HTTP/1.1\r\nHost: a.test\r\nOrigin: https://app.example.com\r\n"
      "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization",
      "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\nContent-Type: application/json",
      "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\nContent-Type: text/plain",
      "POST /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked",
  };
  for_each([&]<class P>() {
    const CompiledPolicies compiled(fmt::format("{}: {}", P::kKey, P::kExample));
    for (const std::string_view head : kHeads) {
      AskedRequest asked(head, head.starts_with("OPTIONS"));
      ASSERT_TRUE(asked.good()) << head;
      const std::size_t before = allocations.load();
      const Decision decision = asked.judge(compiled);
      EXPECT_EQ(allocations.load(), before) << P::kKey << ": " << head;
      EXPECT_LE(decision.refusal.status, 599U);
    }
  });
}

TEST(PolicyList, EveryPolicyIsDocumented) {
  std::ifstream file(MERLON_SOURCE_DIR "/docs/reference.md");
  const std::string page{std::istreambuf_iterator<char>(file), {}};
  ASSERT_FALSE(page.empty());
  const auto& keys = test_route_schema().keys();
  for_each([&]<class P>() {
    EXPECT_FALSE(P::kDoc.empty());
    EXPECT_NE(page.find(fmt::format("`{}`", P::kKey)), std::string::npos) << P::kKey;
    const auto key = std::ranges::find(keys, P::kKey, &config::ObjectBase::Key::name);
    ASSERT_NE(key, keys.end());
    ASSERT_NE(key->shape, nullptr);
  });
}

}  // namespace
}  // namespace merlon::policy
