#include "http/h2_server.h"

#include <algorithm>
#include <utility>

namespace merlon::http {
namespace {

// A peer that does not acknowledge our settings may not know of our limits (RFC 9113 §6.5.3).
constexpr seconds kSettingsTimeout{10};
// Between the notice of a drain and its end: requests on their way arrive within it.
constexpr milliseconds kDrainNotice{500};

}  // namespace

H2Server::H2Server(io::Stream& stream, Handler& handler, const Options& options)
    : H2Connection(stream, options.settings),
      handler_(handler),
      options_(options),
      ended_(stream.loop()),
      since_(stream.loop().now()),
      idle_since_(since_) {}

H2Server::~H2Server() = default;

io::Task<Error> H2Server::run(std::string_view begun) {
  co_await transfer(begun);
  while (!streams_.empty() || !tasks_.empty()) {
    static_cast<void>(co_await ended_.wait(Instant::max()));
  }
  co_return session_.failure();
}

/// Counts streams by their coroutines and not by what HTTP/2 calls open: a client that resets
/// streams gets no more work out of the upstreams than one that does not (CVE-2023-44487). One that
/// got its whole response may open the next at once: its coroutine ends in a moment.
H2Stream* H2Server::open_stream(std::int32_t) {
  const std::size_t most = options_.settings.streams_max;
  if (streams_.size() - served_ >= most || streams_.size() >= 2 * most) return nullptr;
  if (draining_ && !drain_at_) return nullptr;
  auto stream = std::make_unique<H2ServerStream>(*this);
  stream->slot_ = streams_.size();
  streams_.push_back(std::move(stream));
  return streams_.back().get();
}

void H2Server::queue(H2ServerStream& stream) {
  if (!std::exchange(stream.queued_, true)) ready_.push_back(&stream);
}

void H2Server::request_ready(H2Stream& stream) { queue(static_cast<H2ServerStream&>(stream)); }

void H2Server::stream_closed(H2Stream& stream) noexcept {
  auto& closed = static_cast<H2ServerStream&>(stream);
  closed.served_ = closed.output_done();
  if (closed.served_) {
    ++served_;
  } else {
    closed.tell_gone();
  }
  if (closed.queued_) return;
  // Its head never became whole: there is no coroutine that would end it.
  queue(closed);
  look_again();
}

void H2Server::on_received() {
  std::vector<H2ServerStream*> ready = std::exchange(ready_, {});
  for (H2ServerStream* stream : ready) {
    if (stream->closed() && stream->broken().code == 0) {
      finish(*stream);  // given up before anything was done for it
    } else {
      stream->serving_ = true;
      tasks_.spawn(handler_.serve(*stream), [this, stream] { finish(*stream); });
    }
  }
  if (!ready_.empty()) return;
  ready.clear();
  ready_ = std::move(ready);  // keeps its memory
}

void H2Server::finish(H2ServerStream& stream) noexcept {
  if (!stream.closed()) {
    if (!stream.output_done()) {
      session_.reset(stream, H2Code::kInternalError);
    } else if (!stream.input_done()) {
      // Answered before all was sent: the client need not go on (RFC 9113 §8.1).
      session_.reset(stream, H2Code::kNoError);
    }
  }
  session_.consumed(stream, stream.held_.size() + stream.inbox_.size());
  session_.forget(stream);
  gathered_bytes_ -= stream.gathering_bytes_;
  remove(stream);
  pump();
  if (!streams_.empty()) return;
  idle_since_ = loop().now();
  ended_.notify_all();
  if (draining_ || session_.over()) look_again();
}

void H2Server::remove(H2ServerStream& stream) noexcept {
  if (stream.served_) --served_;
  const std::size_t slot = stream.slot_;
  if (slot + 1 != streams_.size()) {
    std::swap(streams_[slot], streams_.back());
    streams_[slot]->slot_ = slot;
  }
  streams_.pop_back();
}

Instant H2Server::deadline() const noexcept {
  Instant next =
      streams_.empty() ? idle_since_ + options_.idle_timeout : loop().now() + options_.idle_timeout;
  if (session_.head_since()) next = std::min(next, *session_.head_since() + options_.head_timeout);
  if (!session_.peer_settings_seen()) next = std::min(next, since_ + options_.head_timeout);
  if (!session_.settings_acked()) next = std::min(next, since_ + kSettingsTimeout);
  if (drain_at_) next = std::min(next, *drain_at_);
  return next;
}

void H2Server::on_deadline() noexcept {
  const Instant now = loop().now();
  const auto passed = [&](Instant since, milliseconds limit) { return now - since >= limit; };
  if (drain_at_ && now >= *drain_at_) {
    drain_at_.reset();
    session_.shut_down();
  } else if ((session_.head_since() && passed(*session_.head_since(), options_.head_timeout)) ||
             (!session_.peer_settings_seen() && passed(since_, options_.head_timeout))) {
    session_.terminate(H2Code::kEnhanceYourCalm, code::kHeadTooSlow);
  } else if (!session_.settings_acked() && passed(since_, kSettingsTimeout)) {
    session_.terminate(H2Code::kSettingsTimeout, code::kH2SettingsTimeout);
  } else if (streams_.empty() && passed(idle_since_, options_.idle_timeout)) {
    session_.shut_down();
  }
}

void H2Server::drain() noexcept {
  if (draining_) return;
  draining_ = true;
  if (streams_.empty()) {
    session_.shut_down();
  } else {
    session_.announce_shutdown();
    drain_at_ = loop().now() + kDrainNotice;
  }
  pump();
  look_again();
}

void H2Server::end_with_streams(H2ServerStream::GoneHandler tell) noexcept {
  draining_ = true;
  drain_at_.reset();
  session_.shut_down();
  for (const auto& stream : streams_) {
    stream->cancel_body();
    if (stream->gone_handler_ != nullptr) tell(stream->gone_context_);
  }
  pump();
  look_again();
}

void H2Server::on_end() noexcept {
  // Streams whose head is not whole are served by nobody.
  for (std::size_t i = 0; i < streams_.size();) {
    H2ServerStream& stream = *streams_[i];
    if (stream.serving_) {
      ++i;
    } else {
      session_.forget(stream);
      remove(stream);
    }
  }
  ready_.clear();
  for (const auto& stream : streams_) stream->end();
}

}  // namespace merlon::http
