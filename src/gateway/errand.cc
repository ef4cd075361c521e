#include <algorithm>
#include <memory>

#include "gateway/request.h"
#include "identity/agent.h"

/// A request that waits for what the agent finds out.
namespace merlon::gateway {
namespace {

/// Where the answer goes. Touched on the worker's thread only; the request leaves it when it no
/// longer waits.
struct Mailbox {
  io::Signal* waiter = nullptr;
  bool arrived = false;
  identity::ErrandAnswer answer{};
};

Error nobody_answered(identity::Errand::Kind kind) noexcept {
  const bool keys = kind == identity::Errand::Kind::kKeys;
  return {.code = keys ? code::kKeysUnavailable : code::kIntrospectionFailed,
          .blame = Blame::kInternal,
          .what = keys ? "the issuer's keys did not come in time"
                       : "the authorisation server did not answer in time"};
}

}  // namespace

/// False: the client is gone, and nobody waits for an answer.
io::Task<bool> RequestWay::run_errand(std::shared_ptr<identity::Errand> errand) {
  const auto mailbox = std::make_shared<Mailbox>();
  mailbox->waiter = &turn_;
  io::Loop& loop = worker_.loop();
  worker_.shared().agent->run(errand, [mailbox, &loop](const identity::ErrandAnswer& answer) {
    loop.send([mailbox, answer] {
      mailbox->answer = answer;
      mailbox->arrived = true;
      if (mailbox->waiter != nullptr) mailbox->waiter->notify_all();
    });
  });
  const Instant patience = loop.now() + identity::Errand::patience(errand->kind);
  const Result<void> waited =
      co_await turn_.wait(std::min(patience, t_.grpc.deadline.value_or(Instant::max())));
  mailbox->waiter = nullptr;
  if (!waited && waited.error().code != code::kTimedOut) co_return false;
  errand->done = true;
  errand->answer = mailbox->arrived ? std::move(mailbox->answer.identity)
                                    : std::unexpected(nobody_answered(errand->kind));
  errand->good_until = mailbox->answer.good_until;
  co_return true;
}

}  // namespace merlon::gateway
