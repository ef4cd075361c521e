#include "gateway/request.h"
#include "policy/content.h"

/// The part of step 10 that takes the content: a body is held until it is judged.
namespace merlon::gateway {

using http::BodyPart;

/// Takes a part in. False with `refusal` when it ends the request.
bool RequestWay::hold_part(std::string_view part, policy::ContentJudge& judge, bool& judging,
                           Refusal& refusal) {
  const Route& route = *t_.route;
  if (!fits_body_size(client_.bytes_received(), route, refusal)) return false;
  if (judging) {
    const Result<void> taken = judge.take(part);
    if (!taken && !observe(route.content->content()->refusal(taken.error()))) {
      refusal = route.content->content()->refusal(taken.error());
      return false;
    }
    judging = taken.has_value();
  }
  const std::uint64_t most = t_.plan->plan().limits.memory_bytes / kHeldShare;
  if (t_.held.append(part, worker_.shared().held_bytes, most)) return true;
  refusal = {.status = 503,
             .error = {.code = code::kHeldBodies,
                       .blame = Blame::kClient,
                       .what = "too many bodies are being judged"},
             .step = "validation",
             .line = nullptr};
  return false;
}

/// True when a waiver only observes what judges the content: the refusal is noted in its place.
bool RequestWay::observe(const Refusal& refusal) noexcept {
  const auto waiver = t_.route->content->observed_by();
  if (waiver.has_value()) t_.observations.add(refusal, *waiver);
  return waiver.has_value();
}

/// Reads the body whole and judges it. False: it has been answered.
io::Task<bool> RequestWay::hold_body() {
  const policy::ContentRules& rules = *t_.route->content->content();
  policy::ContentJudge judge(rules);
  bool judging = true;
  Refusal refusal;
  const Instant due = worker_.loop().now() + t_.route->timeout;
  Result<BodyPart> part = client_.buffered_body();
  if (part && !part->last && part->data.empty() && client_.request().expect_continue) {
    const Result<void> told = co_await client_.send_continue();
    if (!told) {
      note_gone();
      co_return false;
    }
  }
  while (part) {
    const bool goes_on = hold_part(part->data, judge, judging, refusal);
    if (!goes_on) {
      client_.close_after();
      co_await refuse(refusal);
      co_return false;
    }
    if (part->last) break;
    part = co_await client_.read_body(due);
  }
  if (!part) {
    co_await refuse_body(part.error());
    co_return false;
  }
  // The trees of a schema are made and gone between two waits: one a worker at a time.
  t_.pointer.clear();
  const Result<void> fits =
      judging ? judge.finish(t_.held.view(), t_.authenticated ? &t_.pointer : nullptr)
              : Result<void>{};
  if (fits || observe(rules.refusal(fits.error()))) co_return true;
  co_await refuse(rules.refusal(fits.error()));
  co_return false;
}

}  // namespace merlon::gateway
