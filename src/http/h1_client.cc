#include "http/h1_client.h"

#include <cstring>

#include "http/h1_write.h"
#include "http/h1_write_out.h"

namespace merlon::http {
namespace {

/// True for methods that anticipate content.
bool expects_content(Method method) noexcept {
  return method == Method::kPost || method == Method::kPut || method == Method::kPatch;
}

}  // namespace

void H1Client::attach(io::Stream& stream, milliseconds idle) noexcept {
  stream_ = &stream;
  idle_ = idle;
  at_ = end_ = 0;
  interim_ = 0;
  tunnelled_ = chunked_out_ = request_done_ = head_done_ = body_done_ = false;
}

io::Task<Result<void>> H1Client::send_head(const RequestHead& head, std::string_view host,
                                           BodyPart first, Instant deadline) {
  context_ = {.method = head.method, .upgrade_asked = head.wants_websocket};
  parser_.reset(context_);
  HeadWriter out(head_scratch());
  out.request_line(head.method_text, head.target.path, head.target.query, head.target.has_query);
  out.field("Host", host);
  for (const Field& field : head.fields) {
    if (field.id != FieldId::kHost) out.field(field.name, field.value);
  }
  if (head.wants_websocket) {
    out.field("Connection", "Upgrade");
    out.field("Upgrade", "websocket");
  }
  if (head.te_trailers && !head.wants_websocket) {
    out.field("TE", "trailers");
    out.field("Connection", "TE");
  }
  chunked_out_ = head.framing == Framing::kChunked;
  if (chunked_out_) out.field("Transfer-Encoding", "chunked");
  if (head.framing == Framing::kLength) {
    out.field("Content-Length", head.content_length);
  } else if (head.framing == Framing::kNone && expects_content(head.method)) {
    out.field("Content-Length", "0");  // RFC 9110 §8.6; some servers answer 411 without it
  }
  if (!out.end())
    return io::Task<Result<void>>::ready(
        fail(code::kHeadTooLarge, Blame::kInternal, "the request's head does not fit"));
  return send(out.text(), first, deadline);
}

io::Task<Result<void>> H1Client::send_body(BodyPart part) {
  // One that takes some of it now and then is not idle.
  return send({}, part, io::Stream::Pace{.interval = idle_, .bytes = 1});
}

/// Most writes end at once, without a coroutine.
io::Task<Result<void>> H1Client::send(std::string_view head, BodyPart part,
                                      WritePatience patience) {
  io::Task<Result<void>> written = write_out(
      *stream_, head,
      {.data = part.data, .chunked = chunked_out_, .last = part.last, .trailers = part.trailers},
      patience);
  const Result<void>* const done = written.result();
  if (done == nullptr) return note_when_sent(std::move(written), part.last);
  request_done_ = done->has_value() && part.last;
  return written;
}

io::Task<Result<void>> H1Client::note_when_sent(io::Task<Result<void>> written, bool last) {
  const Result<void> sent = co_await written;
  request_done_ = sent.has_value() && last;
  co_return sent;
}

Error H1Client::read_error(Error error) const noexcept {
  error.blame = Blame::kUpstream;
  if (error.code == code::kTimedOut) error.code = code::kUpstreamTimeout;
  const bool lost =
      error.code == code::kReset || error.code == code::kIo || error.code == code::kUnreachable;
  if (lost) error.code = code::kUpstreamReset;
  return error;
}

io::Task<Result<ResponseHead*>> H1Client::read_head(Instant deadline) {
  for (;;) {
    if (end_ > 0) {
      const Result<std::size_t> parsed = parser_.parse({buffer_.data(), end_});
      if (!parsed) co_return std::unexpected(parsed.error());
      const bool switched = parser_.head().status == 101;  // the parser takes none unasked
      if (*parsed > 0 && (switched || !parser_.head().is_interim())) {
        begin_body(*parsed);
        tunnelled_ = switched;
        if (switched) tunnel_.begin(*stream_, {buffer_.data() + at_, end_ - at_});
        co_return &parser_.head();
      }
      if (*parsed > 0) {
        if (++interim_ > kInterimMax)
          co_return fail(code::kUpstreamBadResponse, Blame::kUpstream,
                         "too many interim responses");
        end_ -= *parsed;
        std::memmove(buffer_.data(), buffer_.data() + *parsed, end_);
        parser_.reset(context_);
        continue;
      }
    }
    const Result<std::size_t> n =
        co_await stream_->read({buffer_.data() + end_, buffer_.size() - end_}, deadline);
    // Before anything came it is all the same whether TLS was told of the end.
    const bool left = n ? *n == 0 : n.error().code == code::kTlsTruncated && end_ == 0;
    if (left)
      co_return fail(code::kUpstreamReset, Blame::kUpstream,
                     "the upstream closed without a response");
    if (!n) co_return std::unexpected(read_error(n.error()));
    end_ += *n;
  }
}

void H1Client::begin_body(std::size_t head_bytes) noexcept {
  const ResponseHead& head = parser_.head();
  head_done_ = true;
  at_ = head_bytes;
  body_done_ = head.framing == Framing::kNone ||
               (head.framing == Framing::kLength && head.content_length == 0);
  if (head.framing == Framing::kChunked) chunks_.reset(Blame::kUpstream);
  if (head.framing == Framing::kLength) length_ = LengthDecoder(head.content_length);
}

Result<BodyPart> H1Client::decode() noexcept {
  if (body_done_) return BodyPart{.data = {}, .last = true};
  const Framing framing = parser_.head().framing;
  if (framing == Framing::kUntilClose) {
    const std::string_view data(buffer_.data() + at_, end_ - at_);
    at_ = end_;
    return BodyPart{.data = data};
  }
  if (framing == Framing::kLength) {
    const std::string_view data = length_.take({buffer_.data() + at_, end_ - at_});
    at_ += data.size();
    body_done_ = length_.done();
    return BodyPart{.data = data, .last = body_done_};
  }
  char* const start = buffer_.data() + at_;
  std::size_t size = 0;
  while (at_ < end_ && !body_done_) {
    const Result<ChunkedDecoder::Step> step = chunks_.next({buffer_.data() + at_, end_ - at_});
    if (!step) return std::unexpected(step.error());
    if (!step->data.empty()) {
      if (step->data.data() != start + size)
        std::memmove(start + size, step->data.data(), step->data.size());
      size += step->data.size();
    }
    at_ += step->consumed;
    body_done_ = step->done;
  }
  BodyPart part{.data = {start, size}, .last = body_done_};
  if (body_done_) part.trailers = chunks_.trailers();
  return part;
}

Result<BodyPart> H1Client::buffered_body() noexcept { return decode(); }

io::Task<Result<BodyPart>> H1Client::read_body(milliseconds idle) {
  for (;;) {
    Result<BodyPart> part = decode();
    if (!part || !part->data.empty() || part->last) co_return part;
    // The head's fields have been sent on by now, so the whole buffer serves the body.
    at_ = end_ = 0;
    const Result<std::size_t> n =
        co_await stream_->read({buffer_.data(), buffer_.size()}, stream_->loop().now() + idle);
    if (!n) co_return std::unexpected(read_error(n.error()));
    if (*n == 0) {
      if (parser_.head().framing != Framing::kUntilClose)
        co_return fail(code::kUpstreamTruncated, Blame::kUpstream,
                       "the upstream closed inside a body");
      body_done_ = true;
      co_return BodyPart{.data = {}, .last = true};
    }
    end_ = *n;
  }
}

bool H1Client::reusable() const noexcept {
  // Bytes behind the end of the response belong to no request: the connection is out of step.
  return !tunnelled_ && request_done_ && head_done_ && body_done_ && at_ == end_ &&
         parser_.head().keep_alive && parser_.head().framing != Framing::kUntilClose;
}

}  // namespace merlon::http
