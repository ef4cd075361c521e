#include <algorithm>
#include <utility>

#include "http/h2_client.h"

namespace merlon::http {

H2ClientStream::H2ClientStream(H2Client& connection, milliseconds idle)
    : H2Stream(Blame::kUpstream),
      connection_(&connection),
      input_(connection.loop()),
      output_(connection.loop()),
      idle_(idle) {
  connection.add(*this);
}

void H2ClientStream::detach() noexcept {
  if (connection_ == nullptr) return;
  H2Session& session = connection_->session();
  if (id() != 0) {
    if (!gone_) {
      if (!closed() && !(input_done() && output_done())) session.reset(*this, H2Code::kCancel);
      session.consumed(*this, held_.size() + inbox_.size());
    }
    session.withdraw(*this);
    session.forget(*this);
  }
  H2Client& connection = *std::exchange(connection_, nullptr);
  connection.remove(*this);
  connection.pump();
}

/// The connection is over: whatever waits goes on, and finds nothing.
void H2ClientStream::end() noexcept {
  connection_->session().withdraw(*this);
  gone_ = true;
  look_again();
}

void H2ClientStream::look_again() noexcept {
  input_.notify_all();
  output_.notify_all();
}

void H2ClientStream::cancel_send() noexcept {
  send_cancelled_ = true;
  output_.notify_all();
}

void H2ClientStream::cancel_read() noexcept {
  read_cancelled_ = true;
  input_.notify_all();
}

void H2ClientStream::cancel() noexcept {
  cancel_send();
  cancel_read();
}

H2HeadReader::Into H2ClientStream::head_room() {
  if (response_ == nullptr) response_ = std::make_unique_for_overwrite<Response>();
  return {.fields = response_->head.fields, .text = response_->text, .limits = {}};
}

Result<H2Stream::HeadFacts> H2ClientStream::finish_head(H2HeadReader& reader,
                                                        bool end_stream) noexcept {
  ResponseHead& head = response_->head;
  const Result<void> read = reader.finish_response(end_stream, asked_, head);
  if (!read) return std::unexpected(read.error());
  HeadFacts facts;
  if (head.is_interim()) {
    if (++interim_ > kInterimMax)
      return fail(code::kUpstreamBadResponse, Blame::kUpstream, "too many interim responses");
    facts.final = false;
    return facts;
  }
  // What has no body by its status or method must not bring one (RFC 9110 §6.4.1).
  if (head.framing == Framing::kLength) facts.length = head.content_length;
  if (head.framing == Framing::kNone) facts.length = 0;
  head_in_ = true;
  return facts;
}

/// RFC 9113 §8.7: the upstream guarantees that it did nothing for the stream. What it reset with
/// another code it may have begun, whatever a GOAWAY says; nghttp2 closes those that one leaves
/// behind as refused.
bool H2ClientStream::refused() const noexcept {
  if (closed()) return reset_code() == static_cast<std::uint32_t>(H2Code::kRefusedStream);
  return left_behind();
}

bool H2ClientStream::left_behind() const noexcept {
  const auto& goaway = connection_->session().peer_goaway();
  return goaway && id() > goaway->last;
}

std::unexpected<Error> H2ClientStream::gone() const noexcept {
  if (broken_.code != 0) return std::unexpected(broken_);
  if (refused())
    return std::unexpected(Error{.code = left_behind() ? code::kH2GoAway : code::kH2StreamRefused,
                                 .blame = Blame::kUpstream,
                                 .retryable = true,
                                 .what = "the upstream did not take the stream"});
  if (head_in_)
    return fail(code::kUpstreamTruncated, Blame::kUpstream, "the upstream ended inside a body");
  if (closed())
    return fail(code::kH2StreamReset, Blame::kUpstream, "the upstream reset the stream");
  return fail(code::kUpstreamReset, Blame::kUpstream, "the upstream closed without a response");
}

std::unexpected<Error> H2ClientStream::timed_out() noexcept {
  connection_->note_timeout();
  return fail(code::kUpstreamTimeout, Blame::kUpstream, "the upstream did not answer in time");
}

io::Task<Result<void>> H2ClientStream::send_head(const RequestHead& head, std::string_view host,
                                                 BodyPart first, Instant deadline) {
  asked_ = head.method;
  connection_->note_asked();
  const bool sent =
      !gone_ && connection_->session().request(*this, head, connection_->options_.scheme, host,
                                               first.data, first.last);
  if (!sent) {
    connection_->update_outlook();
    return io::Task<Result<void>>::ready(
        std::unexpected(Error{.code = code::kH2GoAway,
                              .blame = Blame::kUpstream,
                              .retryable = true,
                              .what = "the connection takes no new stream"}));
  }
  connection_->pump();
  if (first.data.empty() || !connection_->session().sending(*this))
    return io::Task<Result<void>>::ready({});
  return until_taken(deadline);
}

io::Task<Result<void>> H2ClientStream::send_body(BodyPart part) {
  if (gone_ || closed()) return io::Task<Result<void>>::ready(gone());
  connection_->session().send(*this, part.data, part.last, part.trailers);
  connection_->pump();
  if (part.data.empty() || !connection_->session().sending(*this))
    return io::Task<Result<void>>::ready({});
  return until_taken(Instant::max());
}

/// Waits until the part is in the connection's block: until the upstream's windows let it. One that
/// takes nothing is waited for no longer than its idle time.
io::Task<Result<void>> H2ClientStream::until_taken(Instant deadline) {
  std::size_t left = connection_->session().unsent(*this).size();
  Instant due = std::min(deadline, connection_->loop().now() + idle_);
  while (!gone_ && connection_->session().sending(*this)) {
    if (left_behind()) {
      connection_->session().withdraw(*this);
      co_return gone();
    }
    if (send_cancelled_) {
      connection_->session().withdraw(*this);
      co_return fail(code::kCancelled, Blame::kInternal, "cancelled");
    }
    const Result<void> waited = co_await output_.wait(due);
    if (waited) continue;
    const Instant now = connection_->loop().now();
    const std::size_t before = std::exchange(left, connection_->session().unsent(*this).size());
    if (left == before || now >= deadline) {
      connection_->session().withdraw(*this);
      co_return timed_out();
    }
    due = std::min(deadline, now + idle_);
  }
  if ((gone_ || closed()) && !output_done()) co_return gone();
  co_return Result<void>{};
}

io::Task<Result<ResponseHead*>> H2ClientStream::read_head(Instant deadline) {
  for (;;) {
    if (broken_.code != 0) co_return std::unexpected(broken_);
    if (head_in_) co_return &response_->head;
    if (gone_ || closed() || left_behind()) co_return gone();
    if (read_cancelled_) co_return fail(code::kCancelled, Blame::kInternal, "cancelled");
    const Result<void> waited = co_await input_.wait(deadline);
    if (!waited) co_return timed_out();
  }
}

Result<BodyPart> H2ClientStream::take_part() noexcept {
  if (body_done_) return BodyPart{.data = {}, .last = true};
  if (broken_.code != 0) return std::unexpected(broken_);
  if (!held_.empty()) {
    if (!gone_) connection_->session().consumed(*this, held_.size());
    held_.clear();
    connection_->pump();
  }
  std::swap(held_, inbox_);
  // What has no content is whole with its head; the upstream's end of the stream may be long in
  // coming (RFC 9110 §6.4.1).
  const bool whole = head_in_ && response_->head.framing == Framing::kNone;
  BodyPart part{.data = held_, .last = whole || input_done()};
  body_done_ = part.last;
  if (part.last && trailers_ != nullptr) part.trailers = trailers_->lines();
  return part;
}

Result<BodyPart> H2ClientStream::buffered_body() noexcept { return take_part(); }

io::Task<Result<BodyPart>> H2ClientStream::read_body(milliseconds idle) {
  for (;;) {
    Result<BodyPart> part = take_part();
    if (!part || !part->data.empty() || part->last) co_return part;
    if (gone_ || closed()) co_return gone();
    if (read_cancelled_) co_return fail(code::kCancelled, Blame::kInternal, "cancelled");
    const Result<void> waited = co_await input_.wait(connection_->loop().now() + idle);
    if (!waited)
      co_return fail(code::kUpstreamTimeout, Blame::kUpstream, "the upstream went quiet");
  }
}

}  // namespace merlon::http
