#include "audit/envoy/scalar.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "audit/envoy/enums.h"
#include "audit/envoy/fields.h"

namespace merlon::audit::envoy {
namespace {

/// A document of one value.
class Value {
 public:
  explicit Value(const std::string& text) {
    Diagnostics out;
    auto source = std::make_shared<Source>(Source{"x.yaml", text});
    tree_ = config::Tree::parse(source, {}, out);
  }
  const config::Node& operator*() const { return tree_->root(); }

 private:
  std::shared_ptr<const config::Tree> tree_;
};

TEST(Scalar, FlagsAreThoseOfYamlAndOfProtocolBuffers) {
  for (const char* text : {"true", "True", "TRUE", "yes", "Y", "on", "On", "\"yes\"", "\"1\"", "t",
                           "{ value: true }"}) {
    EXPECT_EQ(as_flag(*Value(text)), true) << text;
  }
  for (const char* text : {"false", "no", "N", "OFF", "\"false\"", "\"0\"", "{ value: no }"}) {
    EXPECT_EQ(as_flag(*Value(text)), false) << text;
  }
  for (const char* text : {"maybe", "1", "0", "oN", "\"on\"", "[true]", "{ on: true }", "2.5"}) {
    EXPECT_EQ(as_flag(*Value(text)), std::nullopt) << text;
  }
}

TEST(Scalar, PlainNumbersMayBeHexadecimalOrOctal) {
  const struct {
    const char* text;
    std::optional<std::int64_t> want;
  } cases[] = {{"443", 443},        {"+443", 443},     {"0x1BB", 443}, {"0600", 384}, {"08", 8},
               {"\"0600\"", 600},   {"\"0x1BB\"", {}}, {"-1", -1},     {"1.0", {}},   {"1e3", {}},
               {"{ value: 5 }", 5}, {"lots", {}},      {"\" 5\"", {}}, {"\"\"", {}}};
  for (const auto& one : cases) EXPECT_EQ(as_integer(*Value(one.text)), one.want) << one.text;
  EXPECT_EQ(as_unsigned(*Value("18446744073709551615")), UINT64_MAX);
  EXPECT_EQ(as_unsigned(*Value("-1")), std::nullopt);
}

TEST(Scalar, DurationsAreSeconds) {
  const struct {
    const char* text;
    std::optional<std::int64_t> want_ms;
  } cases[] = {{"5s", 5000},
               {"0.25s", 250},
               {"0.000001s", 1},
               {"0s", 0},
               {"{ seconds: 5, nanos: 250000000 }", 5250},
               {"{ nanos: 1 }", 1},
               {"{}", 0},
               {"5", {}},
               {"10m", {}},
               {"500ms", {}},
               {"-5s", {}},
               {"s", {}},
               {"999999999999s", {}}};
  for (const auto& one : cases)
    EXPECT_EQ(as_duration_ms(*Value(one.text)), one.want_ms) << one.text;
  EXPECT_TRUE(is_duration(*Value("-5s")));
  EXPECT_FALSE(is_duration(*Value("-5")));
}

TEST(Scalar, TextIsWhatYamlTakesForNothingElse) {
  for (const char* text : {"a", "1.5", "08", "\"1\"", "123456789012", "\"on\"", "oN"}) {
    EXPECT_TRUE(is_text(*Value(text))) << text;
  }
  for (const char* text : {"1", "on", "0x10", "[a]", "{ a: b }"}) {
    EXPECT_FALSE(is_text(*Value(text))) << text;
  }
}

TEST(Enums, HaveTheNumbersOfTheirNames) {
  const struct {
    std::string_view type;
    std::int64_t number;
    std::string_view want;
  } cases[] = {{enums::kCodecType, 3, "HTTP3"},
               {enums::kDenominator, 2, "MILLION"},
               {enums::kDiscoveryType, 3, "EDS"},
               {enums::kEscapedSlashes, 4, "UNESCAPE_AND_FORWARD"},
               {enums::kForwardClientCert, 4, "ALWAYS_FORWARD_ONLY"},
               {enums::kPluginFailure, 3, "FAIL_OPEN"},
               {enums::kProtocol, 1, "UDP"},
               {enums::kRbacAction, 2, "LOG"},
               {enums::kSameSite, 3, "NONE"},
               {enums::kServerHeader, 2, "PASS_THROUGH"},
               {enums::kStaplePolicy, 2, "MUST_STAPLE"},
               {enums::kTlsProtocol, 1, "TLSv1_0"},
               {enums::kTlsRequirement, 2, "ALL"},
               {enums::kTrafficDirection, 2, "OUTBOUND"},
               {enums::kTrustChain, 1, "ACCEPT_UNTRUSTED"},
               {enums::kUnderscores, 1, "REJECT_REQUEST"},
               {"envoy.config.cluster.v3.Cluster.LbPolicy", 5, "MAGLEV"},
               {"envoy.config.cluster.v3.Cluster.LbPolicy", 4, ""},
               {enums::kTlsProtocol, 5, ""},
               {"no.such.Enum", 0, ""}};
  for (const auto& one : cases)
    EXPECT_EQ(name_of_value(one.type, one.number), one.want) << one.type;
}

}  // namespace
}  // namespace merlon::audit::envoy
