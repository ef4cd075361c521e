#include <atomic>
#include <memory>

#include "gateway/request.h"
#include "io/work_pool.h"
#include "policy/content.h"

/// The part of step 10 that takes the content: a body is held until it is judged.
namespace merlon::gateway {

using http::BodyPart;

namespace {

// A schema takes up to some milliseconds for a body of this size, and hundreds for the largest.
constexpr std::size_t kJudgedInPlaceMax = 4096;

/// A body that a thread of the pool judges, and what it finds. Neither needs the request: it may
/// end before.
struct PoolJudging {
  HeldBody body;
  std::shared_ptr<const policy::JsonSchema> schema;
  std::size_t names = 0;
  bool wants_pointer = false;
  std::atomic<bool> wanted{true};
  Result<void> fits{};
  std::string pointer;
  io::Signal* waiter = nullptr;  ///< touched on the worker's thread only, as is what follows
  bool done = false;

  void judge() noexcept {
    if (wanted)
      fits = schema->judge(body.view(), names, wants_pointer ? &pointer : nullptr, &wanted);
  }
  void arrive() noexcept {
    done = true;
    if (waiter != nullptr) waiter->notify_all();
  }
};

constexpr Error kNotJudgedInTime{.code = code::kHeldBodies,
                                 .blame = Blame::kInternal,
                                 .what = "bodies that came before it were not judged in time"};

}  // namespace

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

/// The error is kHeldBodies where nobody came to judge it in time, and kCancelled where nobody
/// waits for an answer any more.
io::Task<Result<void>> RequestWay::judge_held(policy::ContentJudge& judge, Instant due) {
  const auto& schema = t_.route->content->content()->schema();
  const Result<std::size_t> names = judge.finish_form();
  if (!names) co_return std::unexpected(names.error());
  if (schema == nullptr) co_return Result<void>{};
  if (t_.held.view().size() > kJudgedInPlaceMax) co_return co_await judge_in_pool(*names, due);
  co_return schema->judge(t_.held.view(), *names, t_.authenticated ? &t_.pointer : nullptr);
}

io::Task<Result<void>> RequestWay::judge_in_pool(std::size_t names, Instant due) {
  const auto judging = std::make_shared<PoolJudging>();
  judging->body.swap(t_.held);
  judging->schema = t_.route->content->content()->schema();
  judging->names = names;
  judging->wants_pointer = t_.authenticated;
  judging->waiter = &turn_;
  worker_.shared().pool->run([judging, &loop = worker_.loop()] {
    judging->judge();
    loop.send([judging] { judging->arrive(); });
  });
  const Result<void> waited = co_await turn_.wait(due);
  judging->waiter = nullptr;
  judging->wanted = false;
  if (!judging->done) {
    const bool late = !waited && waited.error().code == code::kTimedOut;
    co_return std::unexpected(late ? kNotJudgedInTime : waited.error());
  }
  t_.held.swap(judging->body);
  t_.pointer.swap(judging->pointer);
  co_return judging->fits;
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
  t_.pointer.clear();
  if (!judging) co_return true;
  const Result<void> fits = co_await judge_held(judge, due);
  if (fits) co_return true;
  if (fits.error().code == code::kHeldBodies) {
    co_await refuse({.status = 503, .error = fits.error(), .step = "validation", .line = nullptr});
  } else if (fits.error().code == code::kCancelled) {
    co_await end_unserved();
  } else if (observe(rules.refusal(fits.error()))) {
    co_return true;
  } else {
    co_await refuse(rules.refusal(fits.error()));
  }
  co_return false;
}

}  // namespace merlon::gateway
