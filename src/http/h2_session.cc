#include "http/h2_session.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "http/h2_callbacks.h"

/// Lifecycle and output of a session; h2_session_input.cc has what arrives.
namespace merlon::http {
namespace {

// Values that are secret stay out of the dynamic table (RFC 7541 §7.1).
constexpr FieldId kSecret[] = {FieldId::kAuthorization, FieldId::kCookie, FieldId::kSetCookie,
                               FieldId::kXApiKey};
// Values that are different each time would push out what is of use there. A connection's second
// one goes in, for the sake of the name; one that has a single request does without.
constexpr FieldId kVarying[] = {FieldId::kXRequestId, FieldId::kTraceparent, FieldId::kGrpcTimeout,
                                FieldId::kRateLimit};

// By field: 0, kSecretBit, or the bit of a varying one.
constexpr std::uint8_t kSecretBit = 0x80;
constexpr auto kIndexing = [] {
  std::array<std::uint8_t, kFieldIdCount> bits{};
  for (const FieldId id : kSecret) bits[static_cast<std::size_t>(id)] = kSecretBit;
  std::uint8_t bit = 1;
  for (const FieldId id : kVarying) {
    bits[static_cast<std::size_t>(id)] = bit;
    bit = static_cast<std::uint8_t>(bit * 2);
  }
  return bits;
}();
static_assert(std::size(kVarying) < 8);

// A frame of data that is smaller, and not the last of its part, is no progress.
constexpr std::size_t kUsefulDataBytes = 1024;

nghttp2_nv pair(std::string_view name, std::string_view value, std::uint8_t flags = 0) noexcept {
  const auto bytes = [](std::string_view text) {
    return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data()));
  };
  return {.name = bytes(name),
          .value = bytes(value),
          .namelen = name.size(),
          .valuelen = value.size(),
          .flags = flags};
}

/// A header block on its way out. Either nghttp2 copies it and lowers the names, or it is
/// `borrowed`: packed before anything of it goes.
class Block {
 public:
  Block(bool borrowed, H2Varying& varying) noexcept : borrowed_(borrowed), varying_(varying) {}

  /// `name` is in lower case.
  void add(std::string_view name, std::string_view value) noexcept { add(name, value, 0, true); }
  void add(const Field& field) noexcept {
    if (field.dropped || has_trait(field.id, FieldTrait::kHopByHop)) return;
    const std::string_view known = lower_field_name(field.id);
    const bool named = !known.empty() && known.size() == field.name.size();
    const std::string_view name = named ? known : field.name;
    add(name, field.value, index_flag(field.id),
        named || std::ranges::none_of(name, [](char c) { return c >= 'A' && c <= 'Z'; }));
  }
  void add_number(std::string_view name, std::uint64_t number) noexcept {
    const auto end = std::to_chars(digits_.data(), digits_.data() + digits_.size(), number).ptr;
    add(name, {digits_.data(), static_cast<std::size_t>(end - digits_.data())});
  }
  [[nodiscard]] const nghttp2_nv* data() const noexcept { return pairs_.data(); }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  void add(std::string_view name, std::string_view value, std::uint8_t flags, bool lower) noexcept {
    if (size_ == pairs_.size()) return;
    if (borrowed_)
      flags |= NGHTTP2_NV_FLAG_NO_COPY_VALUE | (lower ? NGHTTP2_NV_FLAG_NO_COPY_NAME : 0U);
    pairs_[size_++] = pair(name, value, flags);
  }
  [[nodiscard]] std::uint8_t index_flag(FieldId id) noexcept {
    const std::uint8_t bit = kIndexing[static_cast<std::size_t>(id)];
    if (bit == 0) return NGHTTP2_NV_FLAG_NONE;
    const bool second = (varying_.sent & ~varying_.indexed & bit & ~kSecretBit) != 0;
    if (second) varying_.indexed |= bit;
    varying_.sent |= bit;
    return second ? NGHTTP2_NV_FLAG_NONE : NGHTTP2_NV_FLAG_NO_INDEX;
  }

  const bool borrowed_;
  H2Varying& varying_;
  std::array<nghttp2_nv, Fields::kCapacity + 8> pairs_;
  std::size_t size_ = 0;
  std::array<char, 24> digits_{};
};

/// Data are asked for by stream number, so that nothing points to a stream that has gone.
nghttp2_data_provider provider() noexcept {
  nghttp2_data_provider made{};
  made.read_callback = h2_read_part();
  return made;
}

}  // namespace

H2Session::H2Session(Host& host, const H2Settings& settings)
    : host_(host),
      settings_(settings),
      scanner_(settings.server ? NGHTTP2_CLIENT_MAGIC_LEN : 0),
      reader_(settings.server ? Blame::kClient : Blame::kUpstream) {
  if (settings.extended_connect) reader_.allow_extended_connect();
  // Only a lack of memory can make these fail.
  const auto open = settings.server ? &nghttp2_session_server_new3 : &nghttp2_session_client_new3;
  nghttp2_mem memory = memory_.interface();
  if (open(session_.place(), h2_callbacks(), this, h2_options(), &memory) != 0) std::abort();
  memory_.session_made();
  std::array<nghttp2_settings_entry, 6> entries{};
  std::size_t count = 0;
  const auto set = [&](std::int32_t id, std::uint32_t value) {
    entries[count++] = {.settings_id = id, .value = value};
  };
  set(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, settings.head_bytes_max);
  set(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, settings.stream_window_bytes);
  if (settings.server) {
    set(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, settings.streams_max);
    // We have no use for the tree of RFC 7540, and peers need not tell of it (RFC 9218 §2.1).
    set(NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1);
    if (settings.extended_connect) set(NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1);
  } else {
    set(NGHTTP2_SETTINGS_ENABLE_PUSH, 0);
  }
  if (nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, entries.data(), count) != 0)
    std::abort();
  const auto window = static_cast<std::int32_t>(settings.connection_window_bytes);
  if (nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, window) != 0)
    std::abort();
}

H2Session::~H2Session() { nghttp2_session_del(session_); }

H2Stream* H2Session::find(std::int32_t id) const noexcept {
  if (found_ == nullptr || found_->id_ != id)
    found_ = static_cast<H2Stream*>(nghttp2_session_get_stream_user_data(session_.look(), id));
  return found_;
}

bool H2Session::has_output() const noexcept {
  return !carry_.empty() ||
         (session_.due() && !memory_.resting() && nghttp2_session_want_write(session_.look()) != 0);
}

bool H2Session::over() const noexcept {
  if (memory_.resting() || has_output()) return false;
  return failure_.code != 0 || nghttp2_session_want_read(session_.look()) == 0;
}

std::string_view name_of(H2Code code) noexcept {
  return nghttp2_http2_strerror(static_cast<std::uint32_t>(code));
}

std::uint32_t H2Session::peer_streams_max() const noexcept {
  return nghttp2_session_get_remote_settings(session_.look(),
                                             NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

std::size_t H2Session::produce(std::span<char> out) noexcept {
  out_ = out;
  out_size_ = 0;
  for (;;) {
    const std::size_t n = std::min(room(), carry_.size());
    out_size_ += carry_.copy(out_.data() + out_size_, n);
    carry_.remove_prefix(n);
    if (!carry_.empty() || room() == 0) break;
    const std::uint8_t* bytes = nullptr;
    // Frames of data go into `out_` by on_send_data; what is returned comes behind them.
    session_.set_due(false);
    const ssize_t size = nghttp2_session_mem_send(session_.look(), &bytes);
    if (size <= 0) break;
    session_.set_due(true);
    carry_ = {reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size)};
  }
  out_ = {};
  return out_size_;
}

std::ptrdiff_t H2Session::on_read_part(std::int32_t id, std::size_t most,
                                       std::uint32_t* flags) noexcept {
  H2Stream* const found = find(id);
  if (found == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  H2Stream& stream = *found;
  const std::size_t n = std::min(most, stream.out_.size());
  if (n == 0 && !stream.out_last_) return NGHTTP2_ERR_DEFERRED;
  *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  if (n == stream.out_.size() && stream.out_last_) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (!stream.out_trailers_.empty()) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      if (!submit_trailers(stream)) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
  }
  return static_cast<std::ptrdiff_t>(n);
}

bool H2Session::submit_trailers(const H2Stream& stream) {
  Block block(false, varying_);
  for (const Field& field : stream.out_trailers_) block.add(field);
  return nghttp2_submit_trailer(session_, stream.id_, block.data(), block.size()) == 0;
}

/// The peer's windows take no data of the stream now.
bool H2Session::output_shut(const H2Stream& stream) const noexcept {
  return nghttp2_session_get_stream_remote_window_size(session_.look(), stream.id_) <= 0 ||
         nghttp2_session_get_remote_window_size(session_.look()) <= 0;
}

int H2Session::on_send_data(std::int32_t id, const unsigned char* header, std::size_t padding,
                            std::size_t bytes) noexcept {
  constexpr std::size_t kHeaderBytes = H2FrameScanner::kHeaderBytes;
  H2Stream* const found = find(id);
  // Withdrawn between being asked for and being sent; and nghttp2 pads only when asked to.
  if (found == nullptr || found->out_.size() < bytes || padding != 0)
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  H2Stream& stream = *found;
  if (room() < kHeaderBytes + bytes) {
    session_.set_due(true);
    return NGHTTP2_ERR_WOULDBLOCK;
  }
  std::memcpy(out_.data() + out_size_, header, kHeaderBytes);
  stream.out_.copy(out_.data() + out_size_ + kHeaderBytes, bytes);
  out_size_ += kHeaderBytes + bytes;
  stream.out_.remove_prefix(bytes);
  // Not what the client's own window cuts into crumbs: it would earn more than it costs to open the
  // window again (CVE-2019-9511). An upstream may have small windows.
  budget_.data_sent(bytes, bytes >= kUsefulDataBytes || stream.out_.empty() || !settings_.server);
  if (stream.out_.empty()) stream.on_output();
  return 0;
}

bool H2Session::respond(H2Stream& stream, const ResponseHead& head, bool with_length,
                        std::string_view data, bool last, std::span<const Field> trailers) {
  if (stream.closed_) return false;
  const std::array<char, 3> status{static_cast<char>('0' + head.status / 100),
                                   static_cast<char>('0' + head.status / 10 % 10),
                                   static_cast<char>('0' + head.status % 10)};
  const bool at_once = !has_output();
  Block block(at_once, varying_);
  block.add(":status", {status.data(), status.size()});
  for (const Field& field : head.fields) {
    if (field.id != FieldId::kContentLength) block.add(field);
  }
  if (with_length) block.add_number("content-length", head.content_length);
  stream.out_ = data;
  stream.out_last_ = last;
  stream.out_trailers_ = trailers;
  stream.output_begun_ = true;
  const bool bodiless = last && data.empty() && trailers.empty();
  const nghttp2_data_provider body = provider();
  if (nghttp2_submit_response(session_, stream.id_, block.data(), block.size(),
                              bodiless ? nullptr : &body) != 0)
    return false;
  return !at_once || pack();
}

/// Packs the header block that was submitted when nothing else was due, so that nghttp2 need not
/// copy it. False when it cannot be sent yet, which only a stream that would be opened beyond the
/// peer's limit meets: nothing of it is used later.
bool H2Session::pack() noexcept {
  const std::uint8_t* bytes = nullptr;
  const ssize_t size = nghttp2_session_mem_send(session_, &bytes);
  if (size > 0) carry_ = {reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size)};
  return nghttp2_session_get_outbound_queue_size(session_.look()) == 0;
}

bool H2Session::respond_interim(H2Stream& stream, unsigned status) {
  if (stream.closed_ || stream.output_begun_) return false;
  const std::array<char, 3> text{static_cast<char>('0' + status / 100),
                                 static_cast<char>('0' + status / 10 % 10),
                                 static_cast<char>('0' + status % 10)};
  const nghttp2_nv line = pair(":status", {text.data(), text.size()});
  return nghttp2_submit_headers(session_, NGHTTP2_FLAG_NONE, stream.id_, nullptr, &line, 1,
                                nullptr) == 0;
}

bool H2Session::can_request() const noexcept {
  return failure_.code == 0 && !peer_goaway_ &&
         nghttp2_session_check_request_allowed(session_.look()) != 0;
}

bool H2Session::request(H2Stream& stream, const RequestHead& head, std::string_view scheme,
                        std::string_view authority, std::string_view data, bool last) {
  if (!can_request()) return false;
  const bool at_once = !has_output();
  Block block(at_once, varying_);
  std::string target;
  std::string_view path = head.target.path;
  if (head.target.has_query) {
    target.append(path).append("?").append(head.target.query);
    path = target;
  }
  block.add(":method", head.method_text);
  block.add(":scheme", scheme);
  block.add(":authority", authority);
  block.add(":path", path);
  for (const Field& field : head.fields) {
    if (field.id != FieldId::kContentLength && field.id != FieldId::kHost) block.add(field);
  }
  if (head.te_trailers) block.add("te", "trailers");
  if (head.framing == Framing::kLength) block.add_number("content-length", head.content_length);
  stream.out_ = data;
  stream.out_last_ = last;
  stream.output_begun_ = true;
  const bool bodiless = last && data.empty();
  const nghttp2_data_provider body = provider();
  const std::int32_t id = nghttp2_submit_request(session_, nullptr, block.data(), block.size(),
                                                 bodiless ? nullptr : &body, &stream);
  if (id < 0) return false;
  stream.id_ = id;
  if (!at_once || pack()) return true;
  reset(stream, H2Code::kCancel);
  forget(stream);
  return false;
}

void H2Session::send(H2Stream& stream, std::string_view data, bool last,
                     std::span<const Field> trailers) {
  if (stream.closed_) return;
  stream.out_ = data;
  stream.out_last_ = last;
  stream.out_trailers_ = trailers;
  // The end of a response needs no window, but nghttp2 waits for one before it asks for more. A
  // head of trailers, which may be empty, goes out at once. In a request not everybody takes one.
  if (last && data.empty() && settings_.server && output_shut(stream) && submit_trailers(stream))
    return;
  // Fails only when the stream waits for nothing, such as one whose head is still queued.
  static_cast<void>(nghttp2_session_resume_data(session_, stream.id_));
}

void H2Session::finish_output(H2Stream& stream) noexcept {
  if (stream.closed_ || stream.out_last_) return;
  stream.out_last_ = true;
  // As in send().
  static_cast<void>(nghttp2_session_resume_data(session_, stream.id_));
}

void H2Session::withdraw(H2Stream& stream) noexcept {
  stream.out_ = {};
  stream.out_last_ = false;
  stream.out_trailers_ = {};
}

bool H2Session::input_shut() const noexcept {
  constexpr std::int32_t kFrameBytes = 16 * 1024;  // what clients like to send at once
  return nghttp2_session_get_local_window_size(session_.look()) < kFrameBytes;
}

void H2Session::consumed(H2Stream& stream, std::size_t bytes) noexcept {
  if (bytes == 0) return;
  static_cast<void>(nghttp2_session_consume(session_, stream.id_, bytes));
}

void H2Session::reset(H2Stream& stream, H2Code code) noexcept {
  if (stream.closed_) return;
  withdraw(stream);
  static_cast<void>(nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream.id_,
                                              static_cast<std::uint32_t>(code)));
}

void H2Session::cut_off(H2Stream& stream) noexcept {
  reset(stream, H2Code::kCancel);
  if (budget_.spend_stall() || failure_.code != 0) return;
  terminate(H2Code::kEnhanceYourCalm, code::kH2WindowStalled);
}

void H2Session::charge_lost_upstream() noexcept {
  if (budget_.spend_upstream() || failure_.code != 0) return;
  terminate(H2Code::kEnhanceYourCalm, code::kH2RapidReset);
}

void H2Session::forget(H2Stream& stream) noexcept {
  if (&stream == found_) found_ = nullptr;
  if (!stream.closed_)
    static_cast<void>(nghttp2_session_set_stream_user_data(session_.look(), stream.id_, nullptr));
  stream.closed_ = true;
}

void H2Session::release_idle_memory() noexcept {
  if (!has_output() && !over()) memory_.rest();
}

void H2Session::announce_shutdown() noexcept {
  static_cast<void>(nghttp2_submit_shutdown_notice(session_));
}

void H2Session::shut_down() noexcept {
  static_cast<void>(nghttp2_submit_goaway(
      session_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_.look()),
      static_cast<std::uint32_t>(H2Code::kNoError), nullptr, 0));
}

void H2Session::terminate(H2Code code, std::uint16_t reason) noexcept {
  if (failure_.code == 0 && reason != 0)
    failure_ = Error{.code = reason,
                     .blame = settings_.server ? Blame::kClient : Blame::kUpstream,
                     .what = "the connection was ended"};
  static_cast<void>(nghttp2_session_terminate_session(session_, static_cast<std::uint32_t>(code)));
}

}  // namespace merlon::http
