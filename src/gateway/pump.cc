#include <algorithm>

#include "gateway/request.h"

/// Step 12: the body of a request that goes on while its response is awaited.
namespace merlon::gateway {

using http::BodyPart;

namespace {

// Of a body that is not whole so much is kept until the upstream answers: a message or two.
constexpr std::size_t kSentBytesMax = 16UL * 1024;

constexpr Error kTakesNothing{.code = code::kUpstreamTimeout,
                              .blame = Blame::kUpstream,
                              .what = "the upstream took nothing of the body for too long"};

}  // namespace

/// `first` goes out on a stream of HTTP/2, and more is to follow. All of it is kept: the upstream
/// may say that it did nothing with it (RFC 9113 §8.7).
void RequestWay::begin_keeping(const BodyPart& first) {
  if (sent_ != nullptr || first.data.size() > kSentBytesMax) return;
  sent_ = std::make_unique<Sent>(std::string(first.data));
}

/// Follows the end of what went out with the head: that may lie in what is kept.
void RequestWay::keep_sent(const BodyPart& part) {
  if (sent_ == nullptr) return;
  if (upstream_->response_started() || part.data.size() > kSentBytesMax - sent_->bytes.size()) {
    sent_.reset();
    return;
  }
  sent_->bytes += part.data;
  sent_->last = part.last;
}

/// Sends the request while the response is awaited: an upstream may answer before it has all.
io::Task<void> RequestWay::pump_request() {
  const milliseconds idle = t_.route->upstream->idle_timeout;
  while (!stop_pump_ && !over()) {
    const Instant asked = worker_.loop().now();
    const bool owed = std::exchange(client_owes_, true);
    const Result<BodyPart> part = co_await client_.read_body(Instant::max());
    if (worker_.loop().now() == asked) client_owes_ = owed;
    if (!part) {
      // A client may be quiet for as long as the upstream has something to say to it.
      const bool quiet = t_.grpc.active && part.error().code == code::kBodyTooSlow;
      if (quiet && worker_.loop().now() - moved_ < idle) continue;
      pumped_ = part.error();
      break;
    }
    moved_ = worker_.loop().now();
    const Result<void> fits = check_body_size(part->data);
    if (!fits) {
      pumped_ = fits.error();
      break;
    }
    keep_sent(*part);
    BodyPart onward = *part;
    onward.trailers = {};  // a client's trailers are for the gateway, which has no use for them
    const Instant given = worker_.loop().now();
    const bool owes = std::exchange(client_owes_, false);
    const Result<void> sent = co_await upstream_->send_body(onward);
    if (worker_.loop().now() == given) client_owes_ = owes;
    if (!sent) {
      // One that does not want more has answered, or will: the reader is told. One that takes
      // nothing for so long will not.
      note_stuck(sent.error());
      break;
    }
    if (part->last) co_return;
    co_await worker_.loop().yield();
  }
  tell_reader();
}

/// One that takes nothing of a body will not answer it either.
void RequestWay::note_stuck(const Error& why) noexcept {
  const bool stuck = why.code == code::kTimedOut || why.code == code::kUpstreamTimeout;
  if (stuck && !upstream_->response_started()) pumped_ = kTakesNothing;
}

/// The upstream cannot be left waiting for a body that will not come.
void RequestWay::tell_reader() noexcept {
  if (pumped_.code != 0 && upstream_ != nullptr) upstream_->cancel_read();
}

/// The same, where the upstream takes its time for what goes out with the head.
io::Task<void> RequestWay::pump_opened(io::Task<Result<void>> opened, bool last) {
  client_owes_ = false;
  const Result<void> sent = co_await opened;
  if (!sent) {
    note_stuck(sent.error());
    tell_reader();
  } else if (!last) {
    co_await pump_request();
  }
}

/// A call, which both sides may go on with for as long as it is not quiet.
bool RequestWay::streams_messages() const noexcept {
  return t_.grpc.active && t_.route->upstream->protocol == Protocol::kHttp2;
}

/// Follows a wait that ended in a timeout while the request's body was on its way: the upstream
/// need not have answered, so its time begins anew. A stream of messages may go on for as long as
/// it is not quiet.
io::Task<Result<http::ResponseHead*>> RequestWay::await_head_longer(const io::Fork& pump,
                                                                    Instant deadline) {
  const Upstream& upstream = *t_.route->upstream;
  const bool messages = streams_messages();
  if (messages) deadline = t_.grpc.deadline.value_or(Instant::max());
  for (;;) {
    const bool streaming = !pump.done();
    const Instant next = std::min(deadline, worker_.loop().now() + upstream.response_timeout);
    Result<http::ResponseHead*> head = co_await upstream_->read_head(next);
    const bool again = !head && streaming && head.error().code == code::kUpstreamTimeout;
    const Instant now = worker_.loop().now();
    const bool quiet = messages && now - moved_ >= upstream.idle_timeout;
    if (!again || now >= deadline || quiet) co_return head;
  }
}

/// What is left of the request's body is of no use any more; or else, it goes on later.
io::Task<void> RequestWay::stop_pump(bool goes_on) {
  if (!pump_->done()) {
    stop_pump_ = true;
    if (client_.body_unread()) {
      if (!goes_on) client_.close_after();
      client_.cancel_body();
    }
    upstream_->cancel_send();
  }
  co_await pump_->join();
  pump_ = nullptr;
}

}  // namespace merlon::gateway
