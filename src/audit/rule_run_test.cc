#include "audit/rule_run.h"

#include <gtest/gtest.h>

#include <array>
#include <stdexcept>

namespace merlon::audit {
namespace {

struct Inspected {
  const Options& options;
  AuditResult& out;
  int ran = 0;
};

void throws(Inspected& /*in*/) { throw std::out_of_range("basic_string::at"); }
void runs(Inspected& in) { ++in.ran; }

constexpr Rule<Inspected> kRules[] = {{"TLS-01", throws}, {"TLS-02", runs}};
std::span<const Rule<Inspected>> rules() { return kRules; }

TEST(RuleRun, TellsOfARuleThatThrowsAndRunsTheOthers) {
  const Options options;
  AuditResult out;
  out.inputs.emplace_back("nginx.conf");
  Inspected in{options, out};
  const std::array families = {&rules};
  run_families(std::span<std::span<const Rule<Inspected>> (*const)()>(families), in);
  EXPECT_EQ(in.ran, 1);
  ASSERT_EQ(out.findings.size(), 1U);
  EXPECT_EQ(out.findings[0].rule, "CFG-01");
  EXPECT_NE(out.findings[0].message.find("TLS-01"), std::string::npos);
  EXPECT_EQ(exit_code(out, Level::kCritical), 3);
}

}  // namespace
}  // namespace merlon::audit
