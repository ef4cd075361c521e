#include "audit/content_policy.h"

#include <gtest/gtest.h>

namespace merlon::audit {
namespace {

struct WeakCase {
  const char* policy;
  const char* weakness;
};

class ScriptWeakness : public testing::TestWithParam<WeakCase> {};

TEST_P(ScriptWeakness, IsTheSourceThatLetsAnInjectedScriptRun) {
  EXPECT_EQ(script_weakness(GetParam().policy), GetParam().weakness) << GetParam().policy;
}

INSTANTIATE_TEST_SUITE_P(
    Csp, ScriptWeakness,
    testing::Values(WeakCase{"default-src 'none'; frame-ancestors 'none'", ""}, WeakCase{"", ""},
                    WeakCase{"upgrade-insecure-requests", ""},
                    WeakCase{"default-src 'self' 'unsafe-inline'", "'unsafe-inline'"},
                    WeakCase{"Default-Src 'self' 'UNSAFE-INLINE'", "'UNSAFE-INLINE'"},
                    WeakCase{"default-src\t'self'\n 'unsafe-inline'", "'unsafe-inline'"},
                    // script-src takes the place of default-src, and styles run nothing.
                    WeakCase{"default-src 'unsafe-inline'; script-src 'self'", ""},
                    WeakCase{"default-src 'self'; style-src 'unsafe-inline'", ""},
                    // The first of a name counts.
                    WeakCase{"script-src 'self'; script-src 'unsafe-inline'", ""},
                    WeakCase{"script-src 'self' 'unsafe-eval'", "'unsafe-eval'"},
                    WeakCase{"script-src 'nonce-abc' 'unsafe-inline'", ""},
                    WeakCase{"script-src 'sha384-abc' 'unsafe-inline'", ""},
                    WeakCase{"script-src 'nonce-abc' 'unsafe-eval'", "'unsafe-eval'"},
                    WeakCase{"script-src *", "*"}, WeakCase{"script-src https:", "https:"},
                    WeakCase{"script-src 'nonce-abc' https:", "https:"},
                    WeakCase{"script-src 'nonce-abc' 'strict-dynamic' https: 'unsafe-inline'", ""},
                    WeakCase{"script-src *.example.com https://cdn.example.com", ""}));

TEST(PolicyFraming, IsWhatFrameAncestorsSays) {
  EXPECT_EQ(framing_of("default-src 'none'"), Framing::kUnsaid);
  EXPECT_EQ(framing_of("frame-ancestors 'none'"), Framing::kSome);
  EXPECT_EQ(framing_of("Frame-Ancestors\t'self' https://a.example"), Framing::kSome);
  EXPECT_EQ(framing_of("frame-ancestors 'self' HTTPS:"), Framing::kEveryone);
  EXPECT_EQ(framing_of("frame-ancestors *"), Framing::kEveryone);
  EXPECT_EQ(framing_of("frame-ancestors *.example.com"), Framing::kSome);
}

}  // namespace
}  // namespace merlon::audit
