#include "telemetry/traceparent.h"

#include <gtest/gtest.h>

#include <string>

namespace merlon::telemetry {
namespace {

constexpr std::string_view kGood = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

struct Case {
  const char* name;
  std::string_view value;
};
constexpr Case kMalformed[] = {
    {"empty", ""},
    {"other_version", "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
    {"forbidden_version", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
    {"upper_case", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"},
    {"zero_trace", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"},
    {"zero_span", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"},
    {"not_hex", "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01"},
    {"flags_not_hex", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x"},
    {"wrong_dash", "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01"},
    {"wrong_last_dash", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01"},
    {"more_behind", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x"},
    {"space_before", " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
    {"quote", "00-4bf92f3577b34da6a3ce929d0e0e47\"6-00f067aa0ba902b7-01"},
};
class Malformed : public testing::TestWithParam<Case> {};
TEST_P(Malformed, StartsANewTrace) {
  EXPECT_FALSE(parse_traceparent(GetParam().value).has_value());
}
INSTANTIATE_TEST_SUITE_P(TraceContext, Malformed, testing::ValuesIn(kMalformed),
                         [](const auto& test) { return test.param.name; });

TEST(Traceparent, CutAtEveryByteIsMalformed) {
  for (std::size_t i = 0; i < kGood.size(); ++i)
    EXPECT_FALSE(parse_traceparent(kGood.substr(0, i)).has_value()) << i;
}

TEST(Traceparent, IsReadAndWrittenAlike) {
  const auto context = parse_traceparent(kGood);
  ASSERT_TRUE(context.has_value());
  EXPECT_TRUE(context->sampled);
  EXPECT_EQ(context->trace_id_text(), "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_EQ(format_traceparent(*context).view(), kGood);
}

TEST(Traceparent, DropsFlagsThatVersion00DoesNotDefine) {
  const auto context = parse_traceparent(std::string(kGood.substr(0, 53)) + "fe");
  ASSERT_TRUE(context.has_value());
  EXPECT_FALSE(context->sampled);
  EXPECT_TRUE(format_traceparent(*context).view().ends_with("-00"));
}

TEST(Traceparent, AChildKeepsTheTraceAndHasASpanOfItsOwn) {
  IdGenerator ids;
  const auto parent = parse_traceparent(kGood);
  ASSERT_TRUE(parent.has_value());
  const TraceContext child = child_of(*parent, ids);
  EXPECT_EQ(child.trace_id, parent->trace_id);
  EXPECT_NE(child.span_id, parent->span_id);
  EXPECT_EQ(child.sampled, parent->sampled);
}

TEST(Traceparent, ANewTraceIsValid) {
  IdGenerator ids;
  const RequestId request = ids.next();
  const TraceContext context = new_trace(request, ids, true);
  EXPECT_EQ(context.trace_id_text(), request.view());
  EXPECT_EQ(parse_traceparent(format_traceparent(context).view()), context);
}

}  // namespace
}  // namespace merlon::telemetry
