#include "http/h2_client.h"

#include <algorithm>
#include <utility>

namespace merlon::http {

H2Settings H2Client::settings_for(std::uint32_t streams) noexcept {
  H2Settings settings{.server = false};
  settings.streams_max = 0;  // an upstream opens none
  settings.connection_window_bytes = settings.stream_window_bytes * streams;
  return settings;
}

H2Client::H2Client(io::Stream& stream, Owner& owner, const Options& options)
    : H2Connection(stream, options.settings),
      owner_(owner),
      options_(options),
      idle_since_(stream.loop().now()) {}

H2Client::~H2Client() = default;

io::Task<Error> H2Client::run() {
  co_await transfer({});
  co_return session_.failure();
}

bool H2Client::is_open() const noexcept {
  return !retired_ && !over_ && !unwritable() && greeted() && session_.can_request();
}

void H2Client::update_outlook() noexcept {
  const Outlook now{.room = is_open() ? session_.peer_streams_max() : 0,
                    .greeted = greeted(),
                    .goaway = goaway() ? std::optional(goaway()->code) : std::nullopt};
  if (std::exchange(outlook_, now) != now) owner_.changed();
}

void H2Client::note_asked() noexcept {
  if (asked_at_ <= received_at_) asked_at_ = loop().now();
}

/// A request was not answered in time. An upstream from which nothing came at all for as long as it
/// may take to answer may be gone: no other request is sent there. One that was given less, because
/// the client wanted it sooner, says nothing. It is not asked by PING: servers of gRPC end the
/// connection of whoever sends some without data.
void H2Client::note_timeout() noexcept {
  const bool silent = received_at_ < asked_at_;
  if (silent && loop().now() - asked_at_ >= options_.head_timeout) retire();
}

void H2Client::set_timeouts(milliseconds head, milliseconds idle) noexcept {
  if (options_.head_timeout == head && options_.idle_timeout == idle) return;
  options_.head_timeout = head;
  options_.idle_timeout = idle;
  // With streams the reader reckons anew with what comes.
  if (streams_.empty()) look_again();
}

void H2Client::retire() noexcept {
  if (retired_ || over_) return;
  retired_ = true;
  update_outlook();
  if (streams_.empty()) session_.shut_down();
  pump();
  look_again();
}

Instant H2Client::deadline() const noexcept {
  const Instant now = loop().now();
  Instant next = (streams_.empty() ? idle_since_ : now) + options_.idle_timeout;
  if (session_.head_since()) next = std::min(next, *session_.head_since() + options_.head_timeout);
  if (owes_ack()) next = std::min(next, greeted_at_ + options_.head_timeout);
  return next;
}

void H2Client::on_deadline() noexcept {
  const Instant now = loop().now();
  const auto passed = [&](Instant since, milliseconds limit) { return now - since >= limit; };
  if (session_.head_since() && passed(*session_.head_since(), options_.head_timeout)) {
    session_.terminate(H2Code::kEnhanceYourCalm, code::kUpstreamTimeout);
  } else if (owes_ack() && passed(greeted_at_, options_.head_timeout)) {
    session_.terminate(H2Code::kSettingsTimeout, code::kH2SettingsTimeout);
  } else if (streams_.empty() && passed(idle_since_, options_.idle_timeout)) {
    retire();
  }
  update_outlook();
}

void H2Client::on_received() {
  received_at_ = loop().now();
  if (greeted() && !outlook_.greeted) greeted_at_ = received_at_;
  update_outlook();
  if (!goaway()) return;
  // nghttp2 tells of those that it has sent; some may wait here for the upstream to read.
  for (H2ClientStream* stream : streams_) {
    if (stream->left_behind()) stream->look_again();
  }
}

void H2Client::on_end() noexcept {
  over_ = true;
  update_outlook();
  for (H2ClientStream* stream : streams_) stream->end();
}

void H2Client::add(H2ClientStream& stream) {
  stream.slot_ = streams_.size();
  streams_.push_back(&stream);
}

void H2Client::remove(H2ClientStream& stream) noexcept {
  const std::size_t slot = stream.slot_;
  streams_[slot] = streams_.back();
  streams_[slot]->slot_ = slot;
  streams_.pop_back();
  if (!streams_.empty()) return;
  idle_since_ = loop().now();
  if (over_) return;
  if (retired_) session_.shut_down();
  // The reader waits with the deadline of a busy connection; the end may have come, too.
  if (retired_ || session_.over()) look_again();
}

}  // namespace merlon::http
