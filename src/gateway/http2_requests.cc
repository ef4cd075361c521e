#include "gateway/http2_requests.h"

#include "gateway/request.h"
#include "gateway/shed.h"

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

// What requests are answered when their time is over goes out within this, or not at all.
constexpr milliseconds kLastAnswers{100};

void leave_way(void* way) noexcept { static_cast<RequestWay*>(way)->client_gone(); }
void abort_way(void* way) noexcept { static_cast<RequestWay*>(way)->abort(); }

}  // namespace

Http2Requests::Http2Requests(Worker& worker, io::Stream& stream, const ConnectionFacts& facts,
                             std::uint32_t door)
    : worker_(worker),
      facts_(facts),
      door_(door),
      server_(stream, *this, options_of(worker.plan().plan())) {}

void Http2Requests::end() noexcept {
  const Instant now = worker_.loop().now();
  if (end_at_ == Instant::max()) {
    end_at_ = now + kLastAnswers;
    server_.end_with_streams(&abort_way);
  } else if (now >= end_at_) {
    server_.abort();
  }
}

void Http2Requests::for_each_way(const std::function<void(RequestWay&)>& f) const {
  server_.for_each_served([&](void* way) { f(*static_cast<RequestWay*>(way)); });
}

io::Task<void> Http2Requests::serve(http::H2ServerStream& stream) {
  if (!worker_.plan().has_door(door_)) return shed(stream, code::kDraining);
  std::unique_ptr<Transaction> transaction = worker_.take_transaction(door_);
  if (transaction == nullptr) return shed(stream, code::kOverloaded);
  return serve_on(stream, std::move(transaction));
}

io::Task<void> Http2Requests::serve_on(http::H2ServerStream& stream,
                                       std::unique_ptr<Transaction> transaction) {
  transaction->plan = PlanPin(worker_.plan());
  RequestWay way(worker_, facts_, door_, stream, *transaction);
  stream.on_gone(&leave_way, &way);
  if (stream.broken().code == 0) {
    co_await way.serve();
  } else {
    co_await way.answer_broken_head(stream.broken());
  }
  way.finish();
  stream.on_gone(nullptr, nullptr);
  worker_.give_back(std::move(transaction));
}

io::Task<void> Http2Requests::shed(http::H2ServerStream& stream, std::uint16_t why) {
  const bool broken = stream.broken().code != 0;
  const std::unique_ptr<ShedAnswer> shed = shed_request(worker_, facts_, door_, stream.protocol(),
                                                        broken ? nullptr : &stream.request(), why);
  static_cast<void>(co_await stream.send_head(shed->head, {.data = shed->body, .last = true}));
}

}  // namespace merlon::gateway
