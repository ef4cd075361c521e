#include "policy/policy_list.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>

namespace merlon::policy {
namespace {

template <class... P>
constexpr bool in_order(List<P...> /*unused*/) {
  Step last{};
  bool ordered = true;
  ((ordered = ordered && last <= P::kStep, last = P::kStep), ...);
  return ordered;
}
static_assert(in_order(Policies{}), "the list shows the order in which policies judge");

}  // namespace

void check_public_route(const Settings& settings, config::Reader& reader) {
  const auto refuse = [&](const auto& limits, const std::string& help) {
    for (const auto& limit : limits) {
      if (*limit.per != LimitPer::kIdentity) continue;
      reader.error(limit.per.is_default() ? limit.at : limit.per.at,
                   "this limit limits nothing: the route has `auth: none`, so nobody "
                   "has an identity",
                   help);
    }
  };
  const std::string help = "count `per: client`, or ask for authentication";
  refuse(setting<RateLimits>(settings), help);
  refuse(setting<Concurrencies>(settings), help);
  refuse(setting<Quotas>(settings), "ask for authentication");
}

void compile_policies(const Settings& settings, CompileInput& input, Judges& out) {
  for_each([&]<class P>() {
    const config::Reader::Step step(input.reader, P::kKey);
    Judges judges;
    P::compile(setting<P>(settings), input, judges);
    if (P::kObservable && !judges.empty()) observe_if_waived(input, judges);
    std::ranges::move(judges, std::back_inserter(out));
  });
  // A policy may have judges at two steps (limits by client and by identity): within one step the
  // order of the list holds.
  for (std::size_t i = 1; i < out.size(); ++i) {
    for (std::size_t j = i; j > 0 && out[j]->step() < out[j - 1]->step(); --j) {
      std::swap(out[j], out[j - 1]);
    }
  }
}

}  // namespace merlon::policy
