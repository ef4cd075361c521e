#include <algorithm>
#include <utility>

#include "http/h2_server.h"

namespace merlon::http {

H2ServerStream::H2ServerStream(H2Server& connection)
    : H2Stream(Blame::kClient),
      connection_(connection),
      input_(connection.loop()),
      output_(connection.loop()) {}

H2HeadReader::Into H2ServerStream::head_room() {
  return {.fields = head_.fields, .text = head_text_, .limits = connection_.head_limits()};
}

Result<H2Stream::HeadFacts> H2ServerStream::finish_head(H2HeadReader& reader,
                                                        bool end_stream) noexcept {
  const Result<void> read = reader.finish_request(end_stream, head_);
  if (!read) return std::unexpected(read.error());
  HeadFacts facts;
  if (head_.framing == Framing::kLength) facts.length = head_.content_length;
  body_done_ = end_stream;
  return facts;
}

void H2ServerStream::on_gone(GoneHandler handler, void* context) noexcept {
  gone_handler_ = handler;
  gone_context_ = context;
  if (gone_ && handler != nullptr) handler(context);
}

void H2ServerStream::tell_gone() noexcept {
  if (std::exchange(gone_, true)) return;
  if (gone_handler_ != nullptr) gone_handler_(gone_context_);
}

/// The connection is over: whatever waits goes on, and finds nothing.
void H2ServerStream::end() noexcept {
  connection_.session().withdraw(*this);
  tell_gone();
  input_.notify_all();
  output_.notify_all();
}

void H2ServerStream::give_up_unsent() noexcept { connection_.session().withdraw(*this); }

void H2ServerStream::upstream_lost() noexcept {
  if (!closed()) return;  // the whole connection went
  connection_.session().charge_lost_upstream();
  end_if_over_budget();
}

void H2ServerStream::end_if_over_budget() noexcept {
  connection_.pump();
  if (connection_.session().failure().code != 0) connection_.look_again();
}

std::unexpected<Error> H2ServerStream::gone() const noexcept {
  if (broken_.code != 0) return std::unexpected(broken_);
  return fail(code::kH2StreamReset, Blame::kClient, "the client gave up the stream");
}

/// What the reader had is used: the client may send as much again.
void H2ServerStream::give_back_part() noexcept {
  if (held_.empty()) return;
  connection_.session().consumed(*this, held_.size());
  held_.clear();
  connection_.pump();
}

Result<BodyPart> H2ServerStream::take_part() noexcept {
  // A handshake has no body: what follows it belongs to the tunnel.
  if (body_done_ || head_.only_websocket) return BodyPart{.data = {}, .last = true};
  if (broken_.code != 0) return std::unexpected(broken_);
  give_back_part();
  std::swap(held_, inbox_);
  BodyPart part{.data = held_, .last = input_done()};
  body_done_ = part.last;
  if (part.last && trailers_ != nullptr) part.trailers = trailers_->lines();
  return part;
}

Result<BodyPart> H2ServerStream::buffered_body() noexcept { return take_part(); }

io::Task<Result<BodyPart>> H2ServerStream::read_body(Instant deadline) {
  body_cancelled_ = false;
  for (;;) {
    Result<BodyPart> part = take_part();
    if (!part || !part->data.empty() || part->last) co_return part;
    if (gone_) co_return gone();
    if (body_cancelled_) co_return fail(code::kCancelled, Blame::kInternal, "cancelled");
    const Result<void> waited = co_await wait_for_body(deadline);
    if (!waited) co_return std::unexpected(waited.error());
  }
}

/// Only the time that the client lets us wait counts: a slow upstream is not its fault, nor are
/// other streams whose data leave it no room to send.
io::Task<Result<void>> H2ServerStream::wait_for_body(Instant deadline) {
  for (;;) {
    const bool shut = connection_.session().input_shut();
    const Instant begun = connection_.loop().now();
    const Instant until = message_idle_ > milliseconds{}
                              ? begun + message_idle_
                              : pace_deadline(begun, received_) - waited_;
    const Result<void> waited = co_await input_.wait(std::min(until, deadline));
    const Instant now = connection_.loop().now();
    if (!shut) waited_ += now - begun;
    if (waited) co_return Result<void>{};
    if (!shut || now >= deadline)
      co_return fail(code::kBodyTooSlow, Blame::kClient, "the body came too slowly");
  }
}

bool H2ServerStream::body_fits() const noexcept {
  return body_unread() && head_.framing == Framing::kLength &&
         connection_.may_gather(head_.content_length);
}

io::Task<Result<BodyPart>> H2ServerStream::gather_body(BodyPart first, Instant deadline) {
  gathering_bytes_ = head_.content_length;
  connection_.count_gathered(gathering_bytes_);
  gathered_.assign(first.data);
  body_cancelled_ = false;
  for (;;) {
    const Result<BodyPart> part = take_part();
    if (!part) co_return std::unexpected(part.error());
    gathered_.append(part->data);
    if (part->last) co_return BodyPart{.data = gathered_, .last = true};
    if (gone_) co_return gone();
    if (body_cancelled_) co_return fail(code::kCancelled, Blame::kInternal, "cancelled");
    give_back_part();
    const Result<void> waited = co_await wait_for_body(deadline);
    if (!waited) co_return std::unexpected(waited.error());
  }
}

void H2ServerStream::cancel_body() noexcept {
  body_cancelled_ = true;
  input_.notify_all();
}

io::Task<Result<void>> H2ServerStream::send_continue() {
  if (gone_ || !connection_.session().respond_interim(*this, 100)) co_return gone();
  connection_.pump();
  co_return Result<void>{};
}

io::Task<Result<void>> H2ServerStream::send_head(const ResponseHead& head, BodyPart first) {
  using Done = io::Task<Result<void>>;
  head_sent_ = true;
  // The session has reset a malformed one.
  if (malformed_) return Done::ready({});
  if (gone_) return Done::ready(gone());
  bodiless_ = head_.method == Method::kHead || head.status == 204 || head.status == 304;
  const bool known = head.framing == Framing::kLength || (bodiless_ && head.has_content_length);
  const bool empty = head.framing == Framing::kNone && !bodiless_;
  if (bodiless_) first = BodyPart{.data = {}, .last = true};
  if (head.framing == Framing::kLength) response_bytes_ = head.content_length;
  const bool sent = connection_.session().respond(
      *this, head, (known || empty) && head.status != 204, first.data, first.last, first.trailers);
  return sent ? send_out(first) : Done::ready(gone());
}

io::Task<Result<void>> H2ServerStream::send_body(BodyPart part) {
  using Done = io::Task<Result<void>>;
  if (bodiless_ || malformed_) return Done::ready({});
  if (gone_) return Done::ready(gone());
  if (connection_.session().sending(*this)) return send_behind(part);
  connection_.session().send(*this, part.data, part.last, part.trailers);
  return send_out(part);
}

/// Whether so much of the response may wait in `rest_`: a little always, more where all of it is
/// known to fit and the connection has room for it.
bool H2ServerStream::may_take_in(std::size_t bytes) noexcept {
  if (bytes <= kRestBytesMax || response_counted_) return true;
  if (!connection_.may_gather(response_bytes_)) return false;
  connection_.count_gathered(response_bytes_);
  gathering_bytes_ += response_bytes_;
  response_counted_ = true;
  return true;
}

/// Most parts fit the connection's block and the client's windows at once, without a coroutine.
io::Task<Result<void>> H2ServerStream::send_out(const BodyPart& part) {
  H2Session& session = connection_.session();
  connection_.pump();
  if (session.sending(*this)) {
    const std::string_view unsent = session.unsent(*this);
    if (part.last || !may_take_in(unsent.size())) return count_when_taken(part.data.size());
    rest_.assign(unsent);
    session.move_unsent(*this, rest_);
  }
  sent_ += part.data.size();
  return io::Task<Result<void>>::ready({});
}

/// Some of what went before it waits in `rest_`.
io::Task<Result<void>> H2ServerStream::send_behind(BodyPart part) {
  H2Session& session = connection_.session();
  const std::size_t unsent = session.unsent(*this).size();
  if (!may_take_in(unsent + part.data.size())) {
    const Result<void> before = co_await until_taken();
    if (!before) co_return before;
    session.send(*this, part.data, part.last, part.trailers);
    const Result<void> sent = co_await send_out(part);
    co_return sent;
  }
  rest_.erase(0, rest_.size() - unsent);
  rest_.append(part.data);
  session.send(*this, rest_, part.last, part.trailers);
  connection_.pump();
  Result<void> taken;
  if (part.last) taken = co_await until_taken();
  if (taken) sent_ += part.data.size();
  co_return taken;
}

io::Task<Result<void>> H2ServerStream::count_when_taken(std::size_t bytes) {
  const Result<void> taken = co_await until_taken();
  if (taken) sent_ += bytes;
  co_return taken;
}

/// Waits until the part is in the connection's block: until the client's windows and its reading
/// let it. A client that keeps its windows shut is cut off (CVE-2019-9517).
io::Task<Result<void>> H2ServerStream::until_taken() {
  const Instant now = connection_.loop().now();
  const std::size_t bytes = connection_.session().unsent(*this).size();
  const Instant deadline =
      message_idle_ > milliseconds{} ? now + message_idle_ : pace_deadline(now, bytes);
  while (!gone_ && connection_.session().sending(*this)) {
    if (output_cancelled_) {
      connection_.session().withdraw(*this);
      co_return fail(code::kCancelled, Blame::kInternal, "cancelled");
    }
    const Result<void> waited = co_await output_.wait(std::min(deadline, messages_end_));
    if (!waited && connection_.loop().now() >= messages_end_) {
      connection_.session().withdraw(*this);
      co_return fail(code::kTimedOut, Blame::kInternal, "the time for it is over");
    }
    if (!waited) {
      connection_.session().cut_off(*this);
      end_if_over_budget();
      co_return fail(code::kH2WindowStalled, Blame::kClient, "the client keeps its window shut");
    }
  }
  if (gone_ && !output_done()) co_return gone();
  co_return Result<void>{};
}

}  // namespace merlon::http
