#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "http/h2_budget.h"
#include "http/h2_frame_scanner.h"
#include "http/h2_memory.h"
#include "http/h2_stream.h"
#include "http/message.h"

namespace merlon::http {

/// Error codes of RFC 9113 §7.
enum class H2Code : std::uint32_t {
  kNoError = 0x0,
  kProtocolError = 0x1,
  kInternalError = 0x2,
  kFlowControlError = 0x3,
  kSettingsTimeout = 0x4,
  kStreamClosed = 0x5,
  kFrameSizeError = 0x6,
  kRefusedStream = 0x7,
  kCancel = 0x8,
  kCompressionError = 0x9,
  kConnectError = 0xa,
  kEnhanceYourCalm = 0xb,
  kInadequateSecurity = 0xc,
  kHttp11Required = 0xd,
};
/// "ENHANCE_YOUR_CALM"; "unknown" when it is none of them.
[[nodiscard]] std::string_view name_of(H2Code code) noexcept;

/// Our side of a connection's parameters (RFC 9113 §6.5.2).
struct H2Settings {
  bool server = true;
  std::uint32_t streams_max = 100;             ///< that the peer may have open
  std::uint32_t stream_window_bytes = 65'535;  ///< of unread data on one stream
  /// … and on all of them together: 16 uploads that an upstream does not take leave room for
  /// others.
  std::uint32_t connection_window_bytes = 1024 * 1024;
  std::uint32_t head_bytes_max = 16 * 1024;  ///< announced as SETTINGS_MAX_HEADER_LIST_SIZE
  bool extended_connect = false;             ///< RFC 8441
};

/// Of fields that are different each time, by bit: which were sent, and which of them HPACK's table
/// has had, so that their names have an index.
struct H2Varying {
  std::uint8_t sent = 0;
  std::uint8_t indexed = 0;
};

/// HTTP/2 on one connection, either side, without I/O: bytes in, events out, bytes out (RFC 9113,
/// RFC 7541). nghttp2 reads and writes the frames; this holds what nghttp2 leaves to applications:
/// the grammar of messages, which closed stream a frame may still come for, and how much useless
/// work a peer may cause. Not for use by two threads.
class H2Session {
 public:
  /// Who owns the streams. Called from inside the session's own calls: it must call none of them.
  class Host {
   public:
    virtual ~Host() = default;
    /// A client has opened stream `id`. nullptr refuses it (REFUSED_STREAM): nothing was done.
    virtual H2Stream* open_stream(std::int32_t id) = 0;
    /// The head of a request is whole, or broken() says why not: it is to be served, or answered.
    virtual void request_ready(H2Stream& stream) = 0;
    /// The session has forgotten the stream.
    virtual void stream_closed(H2Stream& stream) noexcept = 0;
  };

  H2Session(Host& host, const H2Settings& settings);
  ~H2Session();
  H2Session(const H2Session&) = delete;
  H2Session& operator=(const H2Session&) = delete;

  /// Takes in bytes of the peer. On an error nothing more may be received; GOAWAY is in what
  /// produce() gives next. The error names the violation for the log.
  [[nodiscard]] Result<void> receive(std::string_view bytes, Instant now) noexcept;
  /// Writes frames that are due into `out`; the number of bytes. 0: nothing is due, or nothing that
  /// the peer's windows take. `out` should have room for a frame (kFrameBytesMax).
  [[nodiscard]] std::size_t produce(std::span<char> out) noexcept;
  static constexpr std::size_t kFrameBytesMax = 16 * 1024 + 9;
  /// True when produce() may give something.
  [[nodiscard]] bool has_output() const noexcept;

  // ---- Messages. Data must stay valid until on_output(). ----
  /// Sends a final response head; with `last` and no data it ends the stream. Field names may have
  /// any case; hop-by-hop ones are left out.
  [[nodiscard]] bool respond(H2Stream& stream, const ResponseHead& head, bool with_length,
                             std::string_view data, bool last, std::span<const Field> trailers);
  /// An interim response.
  [[nodiscard]] bool respond_interim(H2Stream& stream, unsigned status);
  /// Client's side: a stream can be opened. False for good once it is false.
  [[nodiscard]] bool can_request() const noexcept;
  /// Sends a request head on a new stream. False when the session cannot open one any more.
  [[nodiscard]] bool request(H2Stream& stream, const RequestHead& head, std::string_view scheme,
                             std::string_view authority, std::string_view data, bool last);
  /// The next part of the body. The last one was taken (on_output).
  void send(H2Stream& stream, std::string_view data, bool last, std::span<const Field> trailers);
  /// Takes back what send() or respond() has not sent yet, since its memory goes.
  void withdraw(H2Stream& stream) noexcept;
  [[nodiscard]] bool sending(const H2Stream& stream) const noexcept {
    return !stream.closed_ && (!stream.out_.empty() || (stream.out_last_ && !stream.output_done_));
  }
  /// What of the part is not sent yet.
  [[nodiscard]] std::string_view unsent(const H2Stream& stream) const noexcept {
    return stream.out_;
  }
  /// The same bytes as unsent(), from now on at `moved`.
  void move_unsent(H2Stream& stream, std::string_view moved) noexcept { stream.out_ = moved; }
  /// Nothing follows what is being sent.
  void finish_output(H2Stream& stream) noexcept;
  /// The peer may send next to nothing on any stream: what others sent has not been used.
  [[nodiscard]] bool input_shut() const noexcept;
  /// `bytes` of the stream's inbox have been used: the peer may send as many again.
  void consumed(H2Stream& stream, std::size_t bytes) noexcept;
  void reset(H2Stream& stream, H2Code code) noexcept;
  /// Resets a stream for which the client keeps its windows shut. Too many of them end the
  /// connection: failure() tells, and GOAWAY is due.
  void cut_off(H2Stream& stream) noexcept;
  /// The client reset a stream, for which a connection to an upstream had to be closed. The same.
  void charge_lost_upstream() noexcept;
  /// The owner lets go of a stream: what arrives for it later is discarded.
  void forget(H2Stream& stream) noexcept;

  // ---- The connection. ----
  /// Gives back memory that is not needed until something is sent.
  void release_idle_memory() noexcept;
  /// First half of a graceful end (RFC 9113 §6.8): new streams are still taken.
  void announce_shutdown() noexcept;
  /// Second half: streams that were not begun by now are not served.
  void shut_down() noexcept;
  /// GOAWAY with an error, after which nothing more is sent.
  void terminate(H2Code code, std::uint16_t reason) noexcept;

  /// Why the connection ends; code 0 as long as it does not, or ends well.
  [[nodiscard]] const Error& failure() const noexcept { return failure_; }
  /// Neither side has more to say.
  [[nodiscard]] bool over() const noexcept;
  /// A header block has begun and is not whole: since when.
  [[nodiscard]] std::optional<Instant> head_since() const noexcept { return head_since_; }
  /// The peer has acknowledged our SETTINGS (RFC 9113 §6.5.3).
  [[nodiscard]] bool settings_acked() const noexcept { return settings_acked_; }
  /// Client's side: the server takes no new stream; those above `last` were not processed.
  struct GoAway {
    std::int32_t last = INT32_MAX;
    H2Code code = H2Code::kNoError;
    std::string debug{};  ///< bytes of the peer, up to 128
  };
  [[nodiscard]] const std::optional<GoAway>& peer_goaway() const noexcept { return peer_goaway_; }
  /// Client's side: how many streams the server lets be open at once.
  [[nodiscard]] std::uint32_t peer_streams_max() const noexcept;
  /// Client's side: the server's SETTINGS have come.
  [[nodiscard]] bool peer_settings_seen() const noexcept { return peer_settings_seen_; }

 private:
  friend struct H2Callbacks;

  int take(std::string_view bytes) noexcept;
  [[nodiscard]] bool pack() noexcept;
  /// Ends the connection from inside a callback: what nghttp2 then returns.
  int abort(H2Code code, std::uint16_t reason, const char* what) noexcept;
  int on_begin_frame(std::uint8_t type, std::int32_t id) noexcept;
  [[nodiscard]] bool discard(std::size_t data_bytes) noexcept;
  int check_closed_stream(std::int32_t id, std::size_t data_bytes) noexcept;
  int check_forgotten_stream(std::int32_t id, std::size_t data_bytes) noexcept;
  int on_begin_headers(std::int32_t id, bool opens) noexcept;
  int on_header(std::int32_t id, std::string_view name, std::string_view value) noexcept;
  int on_headers_end(std::int32_t id, bool end_stream) noexcept;
  int on_data(std::int32_t id, std::string_view data) noexcept;
  int on_data_end(std::int32_t id, bool end_stream, bool empty) noexcept;
  int on_reset(std::int32_t id) noexcept;
  int on_settings(bool ack) noexcept;
  void on_sent_reset(std::int32_t id, std::uint32_t code) noexcept;
  void on_sent_end(std::int32_t id) noexcept;
  void on_sent_goaway(std::uint32_t code) noexcept;
  void on_stream_close(std::int32_t id, std::uint32_t code) noexcept;
  std::ptrdiff_t on_read_part(std::int32_t id, std::size_t most, std::uint32_t* flags) noexcept;
  [[nodiscard]] bool submit_trailers(const H2Stream& stream);
  [[nodiscard]] bool output_shut(const H2Stream& stream) const noexcept;
  int on_send_data(std::int32_t id, const unsigned char* header, std::size_t padding,
                   std::size_t bytes) noexcept;
  int spend_control() noexcept;
  int judge_spent(bool had) noexcept;
  int spend_late() noexcept;
  void end_input(H2Stream& stream) noexcept;
  void break_stream(H2Stream& stream, const Error& error) noexcept;
  void use_number(std::int32_t id) noexcept;
  [[nodiscard]] H2Stream* find(std::int32_t id) const noexcept;
  [[nodiscard]] bool is_open(std::int32_t id) const noexcept;
  [[nodiscard]] std::size_t room() const noexcept { return out_.size() - out_size_; }

  /// What became of recent streams, by number (id / 2): closed streams are no longer in nghttp2,
  /// and a frame for one is judged by how it ended.
  static constexpr std::size_t kRemembered = 512;

  /// nghttp2's. Whoever uses it finds it awake.
  class Session {
   public:
    explicit Session(H2Memory& memory) noexcept : memory_(memory) {}
    nghttp2_session** place() noexcept { return &session_; }
    /// For what may have it send something.
    operator nghttp2_session*() noexcept {  // NOLINT(google-explicit-constructor)
      due_ = true;
      return look();
    }
    /// For what gives it nothing to send.
    [[nodiscard]] nghttp2_session* look() const noexcept {
      memory_.wake();
      return session_;
    }
    /// False: it had nothing to send, and was not used since. Spares asking it.
    [[nodiscard]] bool due() const noexcept { return due_; }
    void set_due(bool due) noexcept { due_ = due; }

   private:
    H2Memory& memory_;
    nghttp2_session* session_ = nullptr;
    bool due_ = true;
  };

  Host& host_;
  H2Settings settings_;
  H2Memory memory_;
  Session session_{memory_};
  H2Budget budget_;
  H2FrameScanner scanner_;
  H2HeadReader reader_;
  Error failure_{};
  H2Code failure_code_ = H2Code::kNoError;
  Instant now_{};
  std::optional<Instant> head_since_;
  std::optional<GoAway> peer_goaway_;
  /// Data that may be on their way for streams that we have reset: what their windows had left.
  std::uint64_t discard_bytes_max_ = 0;
  /// And frames, which cost nothing: a peer answers as it would have until it sees our reset.
  std::uint32_t late_frames_ = 0;
  std::bitset<kRemembered> used_;
  std::bitset<kRemembered> reset_by_us_;
  std::int32_t last_id_ = 0;  ///< highest that the peer has opened
  std::uint32_t block_fields_ = 0;
  std::uint32_t block_bytes_ = 0;  ///< decoded
  std::uint32_t block_frames_ = 0;
  mutable H2Stream* found_ = nullptr;  ///< what `find` gave last
  H2Varying varying_;
  std::size_t queued_frames_ = 0;  ///< when a SETTINGS began
  bool settings_acked_ = false;
  bool peer_settings_seen_ = false;
  std::span<char> out_;  ///< during produce()
  std::size_t out_size_ = 0;
  std::string_view carry_;  ///< of a frame that did not fit; in nghttp2's memory
};

}  // namespace merlon::http
