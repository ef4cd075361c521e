#include "gateway/http2_requests.h"

#include "gateway/request.h"

namespace merlon::gateway {
namespace {

http::H2Server::Options options_of(const Plan& plan) {
  http::H2Server::Options options;
  options.settings.head_bytes_max = plan.head_limits.head_bytes_max;
  options.settings.extended_connect = plan.has_tunnels;
  options.head_limits = plan.head_limits;
  options.head_timeout = plan.timeouts.head;
  options.idle_timeout = plan.timeouts.idle;
  return options;
}

void abort_way(void* way) noexcept {
  static_cast<RequestWay*>(way)->client_gone();
  static_cast<RequestWay*>(way)->abort();
}

}  // namespace

Http2Requests::Http2Requests(Worker& worker, io::Stream& stream, const ConnectionFacts& facts,
                             std::uint32_t door)
    : worker_(worker),
      facts_(facts),
      door_(door),
      server_(stream, *this, options_of(worker.plan().plan())) {}

io::Task<void> Http2Requests::serve(http::H2ServerStream& stream) {
  std::unique_ptr<Transaction> transaction;
  if (worker_.plan().has_door(door_)) transaction = worker_.take_transaction(door_);
  if (transaction == nullptr) {
    co_await shed(stream);
    co_return;
  }
  transaction->plan = PlanPin(worker_.plan());
  RequestWay way(worker_, facts_, door_, stream, *transaction);
  stream.on_gone(&abort_way, &way);
  if (stream.broken().code == 0) {
    co_await way.serve();
  } else {
    co_await way.answer_broken_head(stream.broken());
  }
  stream.on_gone(nullptr, nullptr);
  worker_.give_back(std::move(transaction));
}

/// No room for another request: an answer that costs little, with what the door would set.
io::Task<void> Http2Requests::shed(http::H2ServerStream& stream) {
  worker_.counters().refusals.count(code::kOverloaded);
  const auto head = std::make_unique<http::ResponseHead>();
  head->status = 503;
  head->fields.add("retry-after", "1", http::FieldId::kRetryAfter);
  dress(*head, {.secure = facts_.secure(), .request_id = {}, .date = worker_.date()});
  head->fields.drop(http::FieldId::kXRequestId);
  static_cast<void>(co_await stream.send_head(*head, {.data = {}, .last = true}));
}

}  // namespace merlon::gateway
