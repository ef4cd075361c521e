#include <nghttp2/nghttp2.h>

#include <algorithm>

#include "http/h2_session.h"

/// What arrives: frames are judged as they begin, messages when they are whole.
namespace merlon::http {
namespace {

// A block within the limits fits one frame; RFC 9113 lets it be cut into any number.
constexpr std::uint32_t kContinuationsMax = 8;
// Beyond these a block is no mistake but a bomb: the connection ends. Below, it is decoded to its
// end and answered with 431, so that an honest client learns of it.
// What a stream may still bring after our reset: a head, trailers, and the end or a reset.
constexpr std::uint32_t kLateFramesPerReset = 4;
constexpr std::uint32_t kLateFramesMax = 1U << 20U;
constexpr std::uint32_t kBlockFieldsMax = 256;
constexpr std::uint32_t kBlockBytesMax = 64 * 1024;

// Streams take turns with their data: no download has the others wait for its end, as would those
// of the default (RFC 9218 §4.2).
constexpr nghttp2_extpri kInTurns{.urgency = NGHTTP2_EXTPRI_DEFAULT_URGENCY, .inc = 1};

}  // namespace

int H2Session::abort(H2Code code, std::uint16_t reason, const char* what) noexcept {
  if (failure_.code == 0) {
    failure_ = Error{.code = reason,
                     .blame = settings_.server ? Blame::kClient : Blame::kUpstream,
                     .what = what};
    failure_code_ = code;
  }
  return NGHTTP2_ERR_CALLBACK_FAILURE;
}

/// Gives bytes to nghttp2.
int H2Session::take(std::string_view bytes) noexcept {
  if (bytes.empty()) return 0;
  const ssize_t taken = nghttp2_session_mem_recv(
      session_, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  if (taken >= 0) return 0;
  if (taken == NGHTTP2_ERR_FLOODED)
    return abort(H2Code::kEnhanceYourCalm, code::kH2ControlFlood, "too many frames at once");
  const bool magic = taken == NGHTTP2_ERR_BAD_CLIENT_MAGIC;
  return abort(H2Code::kProtocolError, code::kH2Protocol,
               magic ? "not the preface of HTTP/2" : "HTTP/2 cannot go on");
}

Result<void> H2Session::receive(std::string_view bytes, Instant now) noexcept {
  now_ = now;
  budget_.passed(now);
  // What came before a frame of data is taken first: it decides what has become of the stream.
  std::string_view untaken = bytes;
  for (std::size_t at = 0; at < bytes.size() && failure_.code == 0;) {
    at += scanner_.advance(bytes.substr(at));
    if (!scanner_.at_header()) continue;
    // nghttp2 tells of no frame that it does not know.
    if (scanner_.type() > NGHTTP2_CONTINUATION && spend_control() != 0) break;
    const bool absurd = settings_.server && scanner_.depends_on_itself();
    if (scanner_.type() != NGHTTP2_DATA && !absurd) continue;
    const std::size_t before = bytes.size() - untaken.size();
    const std::size_t whole = std::min(at - before, scanner_.header_bytes());
    if (take(untaken.substr(0, at - before - whole)) != 0) break;
    untaken.remove_prefix(at - before - whole);
    if (absurd) {
      static_cast<void>(
          abort(H2Code::kProtocolError, code::kH2Protocol, "a stream that depends on itself"));
      break;
    }
    const int allowed = settings_.server
                            ? check_closed_stream(scanner_.stream(), scanner_.length())
                            : check_forgotten_stream(scanner_.stream(), scanner_.length());
    if (allowed != 0) break;
  }
  if (failure_.code == 0) static_cast<void>(take(untaken));
  // nghttp2 tells of no end of a block that it passes over, for a stream that is closed.
  if (!scanner_.in_block()) head_since_.reset();
  if (failure_.code == 0) return {};
  if (failure_code_ != H2Code::kNoError) {
    static_cast<void>(
        nghttp2_session_terminate_session(session_, static_cast<std::uint32_t>(failure_code_)));
  }
  return std::unexpected(failure_);
}

int H2Session::spend_control() noexcept { return judge_spent(budget_.spend_control()); }

int H2Session::judge_spent(bool had) noexcept {
  if (had) return 0;
  return abort(H2Code::kEnhanceYourCalm, code::kH2ControlFlood, "too many frames without work");
}

int H2Session::on_begin_frame(std::uint8_t type, std::int32_t id) noexcept {
  switch (type) {
    case NGHTTP2_HEADERS:
      block_frames_ = 0;
      block_fields_ = 0;
      block_bytes_ = 0;
      head_since_ = now_;
      if (!settings_.server) return check_forgotten_stream(id, 0);
      if (id > last_id_ && id % 2 == 1) use_number(id);
      return check_closed_stream(id, 0);
    case NGHTTP2_CONTINUATION:
      if (++block_frames_ <= kContinuationsMax) return 0;
      return abort(H2Code::kEnhanceYourCalm, code::kH2ContinuationFlood,
                   "a header block in too many frames");
    case NGHTTP2_RST_STREAM:
      // Of an open stream it is judged by on_reset.
      return is_open(id) ? 0 : spend_late();
    case NGHTTP2_PUSH_PROMISE:
      // Our SETTINGS, which forbid it, went out before any request that it could answer.
      if (!settings_.server)
        return abort(H2Code::kProtocolError, code::kH2Protocol, "a push that was forbidden");
      return spend_control();
    case NGHTTP2_PRIORITY:
      // nghttp2 passes over what a client says of priorities; receive() has read the rest of it.
      if (settings_.server && id == 0)
        return abort(H2Code::kProtocolError, code::kH2Protocol, "priority of the connection");
      return spend_control();
    case NGHTTP2_SETTINGS:
      queued_frames_ = nghttp2_session_get_outbound_queue_size(session_);
      return spend_control();
    case NGHTTP2_PING:
    case NGHTTP2_GOAWAY:
      return spend_control();
    case NGHTTP2_WINDOW_UPDATE:
      return judge_spent(budget_.spend_update());
    default:  // data, and what receive() has counted
      return 0;
  }
}

int H2Session::on_settings(bool ack) noexcept {
  (ack ? settings_acked_ : peer_settings_seen_) = true;
  // nghttp2 has queued its acknowledgement, and a reset for each stream whose window went beyond
  // the largest. RFC 9113 §6.9.2 ends the connection for that.
  const std::size_t queued = nghttp2_session_get_outbound_queue_size(session_) - queued_frames_;
  if (ack || queued < 2) return 0;
  return abort(H2Code::kFlowControlError, code::kH2Protocol, "a window beyond the largest");
}

/// nghttp2 has not closed it. Seldom asks it: frames of a stream come in groups.
bool H2Session::is_open(std::int32_t id) const noexcept {
  return find(id) != nullptr || nghttp2_session_get_stream_remote_close(session_.look(), id) >= 0;
}

/// RFC 9113 §5.1: what may still come for a stream that is closed goes by how it was closed.
int H2Session::check_closed_stream(std::int32_t id, std::size_t data_bytes) noexcept {
  if (id > last_id_ || id % 2 == 0) return 0;  // nghttp2 judges these
  if (is_open(id)) return 0;
  const auto number = static_cast<std::size_t>(id) / 2;
  const bool remembered = static_cast<std::size_t>(last_id_) / 2 - number < kRemembered;
  if (remembered && !used_.test(number % kRemembered))
    return abort(H2Code::kProtocolError, code::kH2Protocol, "a stream that was passed over");
  // The peer may not have seen our reset yet: this is discarded.
  if (remembered && reset_by_us_.test(number % kRemembered))
    return discard(data_bytes) ? 0 : spend_late();
  return abort(H2Code::kStreamClosed, code::kH2StreamClosed, "a frame for a closed stream");
}

/// For a stream that we may have reset.
int H2Session::spend_late() noexcept {
  if (late_frames_ == 0) return spend_control();
  --late_frames_;
  return 0;
}

/// A peer goes on sending until it has seen our reset, at most what the stream's window let it.
bool H2Session::discard(std::size_t data_bytes) noexcept {
  if (data_bytes == 0 || data_bytes > discard_bytes_max_) return false;
  discard_bytes_max_ -= data_bytes;
  return true;
}

int H2Session::check_forgotten_stream(std::int32_t id, std::size_t data_bytes) noexcept {
  if (is_open(id) || discard(data_bytes)) return 0;
  if (data_bytes == 0) return spend_late();
  return abort(H2Code::kStreamClosed, code::kH2StreamClosed, "data for closed streams");
}

/// Keeps what became of the last streams. A new one counts as reset until it is opened: nghttp2
/// does not tell of those that it refuses, or ignores after our GOAWAY.
void H2Session::use_number(std::int32_t id) noexcept {
  const auto number = static_cast<std::size_t>(id) / 2;
  const auto last = static_cast<std::size_t>(last_id_) / 2;
  const std::size_t ahead = last_id_ == 0 ? number + 1 : number - last;
  if (ahead >= kRemembered) {
    used_.reset();
    reset_by_us_.reset();
  } else {
    for (std::size_t i = 0; i < ahead; ++i) {
      used_.reset((number - i) % kRemembered);
      reset_by_us_.reset((number - i) % kRemembered);
    }
  }
  used_.set(number % kRemembered);
  reset_by_us_.set(number % kRemembered);
  last_id_ = id;
}

int H2Session::on_begin_headers(std::int32_t id, bool opens) noexcept {
  H2Stream* stream = find(id);
  if (opens) {
    reset_by_us_.reset(static_cast<std::size_t>(id) / 2 % kRemembered);
    stream = host_.open_stream(id);
    if (stream == nullptr) {
      static_cast<void>(
          nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM));
      return 0;
    }
    stream->id_ = id;
    stream->opened_ = now_;
    static_cast<void>(nghttp2_session_set_stream_user_data(session_.look(), id, stream));
    static_cast<void>(
        nghttp2_session_change_extpri_stream_priority(session_.look(), id, &kInTurns, 1));
    found_ = stream;
  }
  if (stream == nullptr) return 0;
  stream->reading_trailers_ = stream->head_done_;
  if (!stream->reading_trailers_) {
    reader_.begin(stream->head_room(), H2HeadReader::Block::kHead);
    return 0;
  }
  stream->trailers_ = std::make_unique_for_overwrite<H2Stream::Trailers>();
  reader_.begin({.fields = stream->trailers_->fields,
                 .text = stream->trailers_->text,
                 .limits = kTrailerLimits},
                H2HeadReader::Block::kTrailers);
  return 0;
}

int H2Session::on_header(std::int32_t id, std::string_view name, std::string_view value) noexcept {
  ++block_fields_;
  block_bytes_ += static_cast<std::uint32_t>(name.size() + value.size() + kH2FieldOverheadBytes);
  if (block_fields_ > kBlockFieldsMax || block_bytes_ > kBlockBytesMax)
    return abort(H2Code::kEnhanceYourCalm, code::kH2HeaderBomb, "a header list beyond all limits");
  if (find(id) != nullptr) reader_.add(name, value);
  return 0;
}

void H2Session::break_stream(H2Stream& stream, const Error& error) noexcept {
  if (stream.broken_.code == 0) stream.broken_ = error;
  reset(stream, H2Code::kProtocolError);
  stream.on_input();
  stream.on_output();
}

void H2Session::end_input(H2Stream& stream) noexcept {
  if (stream.length_ && *stream.length_ != stream.received_) {
    const std::uint16_t code =
        stream.peer_ == Blame::kClient ? code::kBodyTooShort : code::kUpstreamTruncated;
    break_stream(
        stream,
        Error{.code = code, .blame = stream.peer_, .what = "less data than content-length says"});
    return;
  }
  stream.input_done_ = true;
  stream.on_input();
}

int H2Session::on_headers_end(std::int32_t id, bool end_stream) noexcept {
  H2Stream* const stream = find(id);
  if (stream == nullptr) return 0;
  if (stream->reading_trailers_) {
    Result<void> read = reader_.finish_trailers();
    if (read && !end_stream)
      read = fail(code::kH2Protocol, stream->peer_, "trailers that do not end the stream");
    if (read) {
      end_input(*stream);
    } else {
      break_stream(*stream, read.error());
    }
    return 0;
  }
  const Result<H2Stream::HeadFacts> head = stream->finish_head(reader_, end_stream);
  if (head && !head->final) return 0;
  stream->head_done_ = true;
  if (!head) {
    stream->broken_ = head.error();
    stream->malformed_ = reader_.malformed();
    if (!settings_.server || stream->malformed_) break_stream(*stream, head.error());
  } else {
    stream->length_ = head->length;
  }
  if (end_stream) {
    stream->input_done_ = true;
    stream->on_input();
  }
  if (settings_.server) {
    host_.request_ready(*stream);
  } else {
    stream->on_input();
  }
  return 0;
}

int H2Session::on_data(std::int32_t id, std::string_view data) noexcept {
  H2Stream* const stream = find(id);
  if (stream == nullptr || stream->broken_.code != 0) {
    static_cast<void>(nghttp2_session_consume(session_, id, data.size()));
    return 0;
  }
  budget_.data_received();
  stream->received_ += data.size();
  const bool early = !stream->head_done_;
  if (early || (stream->length_ && stream->received_ > *stream->length_)) {
    static_cast<void>(nghttp2_session_consume(session_, id, data.size()));
    break_stream(*stream, Error{.code = early ? code::kH2Protocol : code::kBadContentLength,
                                .blame = stream->peer_,
                                .what = early ? "data before the head"
                                              : "more data than content-length says"});
    return 0;
  }
  if (stream->inbox_.size() + data.size() > settings_.stream_window_bytes) {
    // nghttp2 resets the stream for it, and hands out the data all the same.
    static_cast<void>(nghttp2_session_consume(session_, id, data.size()));
    stream->broken_ = Error{.code = code::kH2Protocol,
                            .blame = stream->peer_,
                            .what = "more data than the window lets"};
    stream->on_input();
    stream->on_output();
    return 0;
  }
  stream->inbox_.append(data);
  stream->on_input();
  return 0;
}

int H2Session::on_data_end(std::int32_t id, bool end_stream, bool empty) noexcept {
  if (empty && !end_stream) return spend_control();
  H2Stream* const stream = find(id);
  if (end_stream && stream != nullptr && stream->broken_.code == 0) end_input(*stream);
  return 0;
}

int H2Session::on_reset(std::int32_t id) noexcept {
  if (!settings_.server) return 0;
  const H2Stream* const stream = find(id);
  // One that has ended: it comes late, and on_begin_frame has counted it.
  if (stream == nullptr) return 0;
  const bool served = stream->output_begun_ || now_ - stream->opened_ >= H2Budget::kServedFor;
  if (served) budget_.stream_served();
  if (served || budget_.spend_reset()) return 0;
  return abort(H2Code::kEnhanceYourCalm, code::kH2RapidReset, "too many streams abandoned at once");
}

/// Every kind of violation that makes us reset a stream spends as much as a reset of the peer's
/// own. The connection is ended before the next bytes are read.
void H2Session::on_sent_reset(std::int32_t id, std::uint32_t code) noexcept {
  reset_by_us_.set(static_cast<std::size_t>(id) / 2 % kRemembered);
  late_frames_ = std::min(late_frames_ + kLateFramesPerReset, kLateFramesMax);
  if (nghttp2_session_get_stream_remote_close(session_.look(), id) == 0) {
    // The connection's window is opened by what is discarded, and so behind the reset.
    const auto left = nghttp2_session_get_stream_local_window_size(session_.look(), id);
    discard_bytes_max_ =
        std::min(discard_bytes_max_ + static_cast<std::uint64_t>(std::max(left, 0)),
                 std::uint64_t{settings_.connection_window_bytes});
  }
  const bool provoked = code == NGHTTP2_PROTOCOL_ERROR || code == NGHTTP2_FLOW_CONTROL_ERROR ||
                        code == NGHTTP2_STREAM_CLOSED || code == NGHTTP2_FRAME_SIZE_ERROR ||
                        code == NGHTTP2_REFUSED_STREAM;
  if (!settings_.server || !provoked || budget_.spend_reset() || failure_.code != 0) return;
  static_cast<void>(abort(H2Code::kEnhanceYourCalm, code::kH2ProvokedResets,
                          "too many streams that had to be reset"));
  static_cast<void>(nghttp2_session_terminate_session(session_, NGHTTP2_ENHANCE_YOUR_CALM));
}

void H2Session::on_sent_end(std::int32_t id) noexcept {
  H2Stream* const stream = find(id);
  if (stream == nullptr) return;
  stream->output_done_ = true;
  stream->on_output();
}

/// nghttp2 found a violation of its own: its code is all there is to say.
void H2Session::on_sent_goaway(std::uint32_t code) noexcept {
  if (code == NGHTTP2_NO_ERROR || failure_.code != 0) return;
  static_cast<void>(abort(static_cast<H2Code>(code),
                          code == NGHTTP2_ENHANCE_YOUR_CALM ? code::kH2ControlFlood
                          : code == NGHTTP2_STREAM_CLOSED   ? code::kH2StreamClosed
                                                            : code::kH2Protocol,
                          "a violation of HTTP/2"));
}

void H2Session::on_stream_close(std::int32_t id, std::uint32_t code) noexcept {
  H2Stream* const stream = find(id);
  if (stream == nullptr) return;
  found_ = nullptr;
  stream->closed_ = true;
  stream->reset_code_ = code;
  if (code == NGHTTP2_NO_ERROR && stream->input_done_ && stream->output_done_)
    budget_.stream_completed();
  withdraw(*stream);
  stream->on_input();
  stream->on_output();
  host_.stream_closed(*stream);
}

}  // namespace merlon::http
