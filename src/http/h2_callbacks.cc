#include "http/h2_callbacks.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "http/h2_session.h"

namespace merlon::http {

namespace {

std::string_view text(const std::uint8_t* bytes, std::size_t size) noexcept {
  return {reinterpret_cast<const char*>(bytes), size};
}

std::string debug_text(const nghttp2_goaway& frame) {
  constexpr std::size_t kMax = 128;
  return std::string(text(frame.opaque_data, std::min(frame.opaque_data_len, kMax)));
}

H2Session& of(void* user_data) noexcept { return *static_cast<H2Session*>(user_data); }

}  // namespace

/// What nghttp2 tells, as calls of the session it belongs to.
struct H2Callbacks {
  static int begin_frame(nghttp2_session*, const nghttp2_frame_hd* hd, void* data) {
    return of(data).on_begin_frame(hd->type, hd->stream_id);
  }

  static int begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* data) {
    if (frame->hd.type != NGHTTP2_HEADERS) return 0;
    const bool opens = frame->headers.cat == NGHTTP2_HCAT_REQUEST;
    return of(data).on_begin_headers(frame->hd.stream_id, opens);
  }

  static int header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                    std::size_t name_size, const std::uint8_t* value, std::size_t value_size,
                    std::uint8_t, void* data) {
    return of(data).on_header(frame->hd.stream_id, text(name, name_size), text(value, value_size));
  }

  static int frame_received(nghttp2_session*, const nghttp2_frame* frame, void* data) {
    H2Session& session = of(data);
    const bool end_stream = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    switch (frame->hd.type) {
      case NGHTTP2_HEADERS:
        return session.on_headers_end(frame->hd.stream_id, end_stream);
      case NGHTTP2_DATA:
        return session.on_data_end(frame->hd.stream_id, end_stream,
                                   frame->hd.length == frame->data.padlen);
      case NGHTTP2_RST_STREAM:
        return session.on_reset(frame->hd.stream_id);
      case NGHTTP2_SETTINGS:
        return session.on_settings((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0);
      case NGHTTP2_GOAWAY:
        session.peer_goaway_ = {.last = frame->goaway.last_stream_id,
                                .code = static_cast<H2Code>(frame->goaway.error_code),
                                .debug = debug_text(frame->goaway)};
        return 0;
      default:
        return 0;
    }
  }

  static int data_chunk(nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* bytes,
                        std::size_t size, void* data) {
    return of(data).on_data(id, text(bytes, size));
  }

  static int frame_sent(nghttp2_session*, const nghttp2_frame* frame, void* data) {
    const bool end_stream = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    switch (frame->hd.type) {
      case NGHTTP2_RST_STREAM:
        of(data).on_sent_reset(frame->hd.stream_id, frame->rst_stream.error_code);
        break;
      case NGHTTP2_DATA:
      case NGHTTP2_HEADERS:
        if (end_stream) of(data).on_sent_end(frame->hd.stream_id);
        break;
      case NGHTTP2_GOAWAY:
        of(data).on_sent_goaway(frame->goaway.error_code);
        break;
      default:
        break;
    }
    return 0;
  }

  static int stream_close(nghttp2_session*, std::int32_t id, std::uint32_t code, void* data) {
    of(data).on_stream_close(id, code);
    return 0;
  }

  static ssize_t read_part(nghttp2_session*, std::int32_t id, std::uint8_t*, std::size_t most,
                           std::uint32_t* flags, nghttp2_data_source*, void* data) {
    return of(data).on_read_part(id, most, flags);
  }

  static int send_data(nghttp2_session*, nghttp2_frame* frame, const std::uint8_t* header,
                       std::size_t size, nghttp2_data_source*, void* data) {
    return of(data).on_send_data(frame->hd.stream_id, header, frame->data.padlen, size);
  }
};

const nghttp2_session_callbacks* h2_callbacks() noexcept {
  static const nghttp2_session_callbacks* const callbacks = [] {
    nghttp2_session_callbacks* made = nullptr;
    if (nghttp2_session_callbacks_new(&made) != 0) std::abort();
    nghttp2_session_callbacks_set_on_begin_frame_callback(made, &H2Callbacks::begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(made, &H2Callbacks::begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(made, &H2Callbacks::header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(made, &H2Callbacks::frame_received);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, &H2Callbacks::data_chunk);
    nghttp2_session_callbacks_set_on_frame_send_callback(made, &H2Callbacks::frame_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(made, &H2Callbacks::stream_close);
    nghttp2_session_callbacks_set_send_data_callback(made, &H2Callbacks::send_data);
    return made;
  }();
  return callbacks;
}

const nghttp2_option* h2_options() noexcept {
  static const nghttp2_option* const options = [] {
    nghttp2_option* made = nullptr;
    if (nghttp2_option_new(&made) != 0) std::abort();
    // Windows open as far as data were used: this is the back-pressure.
    nghttp2_option_set_no_auto_window_update(made, 1);
    // Messages are judged in one place, by the rules of HTTP/1.1 requests too (h2_head.h).
    nghttp2_option_set_no_http_messaging(made, 1);
    // Streams that have ended are not kept: up to a hundred of them, long out of the caches, would
    // be held by each connection. H2Session judges what still comes for them.
    nghttp2_option_set_no_closed_streams(made, 1);
    // Counted by H2Session, which knows what was useful; these only stand behind it.
    nghttp2_option_set_max_continuations(made, 64);
    nghttp2_option_set_stream_reset_rate_limit(made, 1U << 30U, 1U << 30U);
    nghttp2_option_set_max_outbound_ack(made, 2'000);
    nghttp2_option_set_max_settings(made, 32);
    nghttp2_option_set_max_deflate_dynamic_table_size(made, 4096);
    // As much as fits a head of HTTP/1.1 (h1_write_out.cc), and what HPACK may add to it.
    nghttp2_option_set_max_send_header_block_length(made, 192UL * 1024);
    return made;
  }();
  return options;
}

nghttp2_data_source_read_callback h2_read_part() noexcept { return &H2Callbacks::read_part; }

}  // namespace merlon::http
