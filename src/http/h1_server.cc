#include "http/h1_server.h"

#include <algorithm>
#include <cstring>

#include "http/h1_write.h"
#include "http/h1_write_out.h"

namespace merlon::http {

void H1Server::attach(io::Stream& stream) noexcept {
  stream_ = &stream;
  parser_.reset();
  head_end_ = at_ = end_ = 0;
  body_done_ = true;
  close_ = head_sent_ = response_done_ = served_ = false;
}

io::Task<Result<bool>> H1Server::next_head(Instant deadline) {
  received_ = sent_ = 0;
  tunnel_.reset();
  close_ = head_sent_ = response_done_ = bodiless_ = chunked_out_ = false;
  for (;;) {
    if (end_ > 0) {
      const Result<std::size_t> parsed = parser_.parse({buffer_.data(), end_});
      if (!parsed) co_return std::unexpected(parsed.error());
      if (*parsed > 0) {
        begin_body(*parsed);
        co_return true;
      }
      if (end_ == buffer_.size())
        co_return fail(code::kHeadTooLarge, Blame::kClient, "the head does not fit");
    }
    const Result<std::size_t> n =
        co_await stream_->read({buffer_.data() + end_, buffer_.size() - end_}, deadline);
    if (!n) {
      Error error = n.error();
      if (error.code == code::kTimedOut && parser_.started()) error.code = code::kHeadTooSlow;
      error.blame = Blame::kClient;
      co_return std::unexpected(error);
    }
    if (*n == 0) {
      if (!parser_.started()) co_return false;
      co_return fail(code::kClosed, Blame::kClient, "closed inside a head");
    }
    end_ += *n;
  }
}

void H1Server::begin_body(std::size_t head_bytes) noexcept {
  const RequestHead& head = parser_.head();
  head_end_ = at_ = head_bytes;
  body_since_ = stream_->loop().now();
  body_done_ = head.framing == Framing::kNone ||
               (head.framing == Framing::kLength && head.content_length == 0);
  if (head.framing == Framing::kChunked) chunks_.reset(Blame::kClient);
  if (head.framing == Framing::kLength) length_ = LengthDecoder(head.content_length);
}

/// Decodes what is in the buffer. Chunk data are moved together, so that one part comes out.
Result<BodyPart> H1Server::decode() noexcept {
  if (body_done_) return BodyPart{.data = {}, .last = true};
  if (parser_.head().framing == Framing::kLength) {
    const std::string_view data = length_.take({buffer_.data() + at_, end_ - at_});
    at_ += data.size();
    received_ += data.size();
    body_done_ = length_.done();
    return BodyPart{.data = data, .last = body_done_};
  }
  char* const start = buffer_.data() + at_;
  std::size_t size = 0;
  while (at_ < end_) {
    const Result<ChunkedDecoder::Step> step = chunks_.next({buffer_.data() + at_, end_ - at_});
    if (!step) return std::unexpected(step.error());
    if (!step->data.empty()) {
      if (step->data.data() != start + size)
        std::memmove(start + size, step->data.data(), step->data.size());
      size += step->data.size();
    }
    at_ += step->consumed;
    if (step->done) {
      body_done_ = true;
      break;
    }
  }
  received_ += size;
  BodyPart part{.data = {start, size}, .last = body_done_};
  if (body_done_) part.trailers = chunks_.trailers();
  return part;
}

Result<BodyPart> H1Server::buffered_body() noexcept { return decode(); }

io::Task<Result<BodyPart>> H1Server::read_body(Instant deadline) {
  for (;;) {
    Result<BodyPart> part = decode();
    if (!part || !part->data.empty() || part->last) co_return part;
    at_ = end_ = head_end_;
    const Result<void> received = co_await receive_body(deadline);
    if (!received) co_return std::unexpected(received.error());
  }
}

io::Task<Result<void>> H1Server::receive_body(Instant deadline) {
  const Result<std::size_t> n =
      co_await stream_->read({buffer_.data() + end_, buffer_.size() - end_},
                             std::min(deadline, pace_deadline(body_since_, received_)));
  if (!n) {
    Error error = n.error();
    if (error.code == code::kTimedOut) error.code = code::kBodyTooSlow;
    error.blame = Blame::kClient;
    co_return std::unexpected(error);
  }
  if (*n == 0) co_return fail(code::kBodyTooShort, Blame::kClient, "closed inside a body");
  end_ += *n;
  co_return Result<void>{};
}

bool H1Server::body_fits() const noexcept {
  return !body_done_ && parser_.head().framing == Framing::kLength &&
         parser_.head().content_length <= buffer_.size() - head_end_;
}

io::Task<Result<BodyPart>> H1Server::gather_body(BodyPart first, Instant deadline) {
  // Nothing was read beyond what is decoded, so that parts lie one behind the other.
  std::size_t size = first.data.size();
  while (!body_done_) {
    const Result<void> received = co_await receive_body(deadline);
    if (!received) co_return std::unexpected(received.error());
    const Result<BodyPart> part = decode();
    if (!part) co_return std::unexpected(part.error());
    size += part->data.size();
  }
  co_return BodyPart{.data = {buffer_.data() + head_end_, size}, .last = true};
}

bool H1Server::finish() noexcept {
  if (close_ || !body_done_ || !response_done_ || !parser_.head().keep_alive) return false;
  const std::size_t left = end_ - at_;
  if (left > 0) std::memmove(buffer_.data(), buffer_.data() + at_, left);
  head_end_ = at_ = 0;
  end_ = left;
  parser_.reset();
  return true;
}

io::Task<Result<void>> H1Server::send_continue() {
  const Result<void> sent = co_await write_out(*stream_, "HTTP/1.1 100 Continue\r\n\r\n", {},
                                               pace_deadline(stream_->loop().now(), 0));
  co_return sent;
}

void H1Server::write_framing(HeadWriter& out, const ResponseHead& head) noexcept {
  const RequestHead& request = parser_.head();
  const bool no_content = head.status == 204 || head.status == 304 || head.status < 200;
  chunked_out_ = false;
  bodiless_ = request.method == Method::kHead || no_content;
  const bool known = head.framing == Framing::kLength || (bodiless_ && head.has_content_length);
  if (known && head.status != 204) {
    out.field("Content-Length", head.content_length);
  } else if (head.framing == Framing::kNone && !bodiless_) {
    out.field("Content-Length", std::uint64_t{0});
  } else if (!bodiless_) {
    chunked_out_ = request.minor_version >= 1;
    if (chunked_out_) {
      out.field("Transfer-Encoding", "chunked");
    } else {
      close_ = true;  // HTTP/1.0 knows no chunks: the close ends the body
    }
  }
  if (!request.keep_alive || !body_done_) close_ = true;
  if (close_) {
    out.field("Connection", "close");
  } else if (request.minor_version == 0) {
    out.field("Connection", "keep-alive");
  }
}

io::Task<Result<void>> H1Server::send_head(const ResponseHead& head, BodyPart first) {
  HeadWriter out(head_scratch());
  out.status_line(head.status);
  for (const Field& field : head.fields) out.field(field.name, field.value);
  write_framing(out, head);
  if (!out.end())
    return io::Task<Result<void>>::ready(
        fail(code::kHeadTooLarge, Blame::kInternal, "the response's head does not fit"));
  head_sent_ = served_ = true;
  if (bodiless_) first = BodyPart{.data = {}, .last = true};
  return send(out.text(), first);
}

io::Task<Result<void>> H1Server::open_tunnel(ResponseHead& head) {
  HeadWriter out(head_scratch());
  out.status_line(101);
  out.field("Connection", "Upgrade");
  out.field("Upgrade", "websocket");
  for (const Field& field : head.fields) out.field(field.name, field.value);
  if (!out.end())
    return io::Task<Result<void>>::ready(
        fail(code::kHeadTooLarge, Blame::kInternal, "the response's head does not fit"));
  head_sent_ = served_ = true;
  tunnel_.begin(*stream_, {buffer_.data() + at_, end_ - at_});
  io::Task<Result<void>> sent = send(out.text(), {.data = {}, .last = true});
  close_ = true;  // after it is sent: what the stream carries then is no HTTP, and not at its end
  return sent;
}

io::Task<Result<void>> H1Server::send_body(BodyPart part) {
  if (bodiless_) return io::Task<Result<void>>::ready({});
  return send({}, part);
}

/// Most writes end at once, without a coroutine.
io::Task<Result<void>> H1Server::send(std::string_view head, BodyPart part) {
  if (part.last && close_) stream_->finish_with_write();
  io::Task<Result<void>> written = write_out(
      *stream_, head,
      {.data = part.data, .chunked = chunked_out_, .last = part.last, .trailers = part.trailers},
      io::Stream::kLeastPace);
  const Result<void>* const done = written.result();
  if (done == nullptr) return note_when_sent(std::move(written), part.data.size(), part.last);
  if (*done) note_sent(part.data.size(), part.last);
  return written;
}

io::Task<Result<void>> H1Server::note_when_sent(io::Task<Result<void>> written, std::size_t bytes,
                                                bool last) {
  const Result<void> sent = co_await written;
  if (sent) note_sent(bytes, last);
  co_return sent;
}

void H1Server::note_sent(std::size_t bytes, bool last) noexcept {
  sent_ += bytes;
  response_done_ = last;
}

}  // namespace merlon::http
