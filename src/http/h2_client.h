#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/exchange.h"
#include "http/h2_connection.h"
#include "io/signal.h"

namespace merlon::http {

class H2Client;

/// The client's side of HTTP/2: one request on a stream of a shared connection to an upstream.
/// Small while it waits: thousands do. The response brings some 4 KiB, and 16 for a long head.
class H2ClientStream final : public ClientExchange, public H2Stream {
 public:
  /// `connection` outlives it, or detach(). An upstream that takes no data of the request for
  /// `idle` is given up.
  H2ClientStream(H2Client& connection, milliseconds idle);
  ~H2ClientStream() override { detach(); }

  /// Ends the exchange: a stream that is not complete is reset, so that the upstream stops working
  /// on it. What came of the response stays.
  void detach() noexcept;

  /// `host` goes out as :authority. kH2GoAway when the connection takes no new stream.
  [[nodiscard]] io::Task<Result<void>> send_head(const RequestHead& head, std::string_view host,
                                                 BodyPart first, Instant deadline) override;
  [[nodiscard]] io::Task<Result<void>> send_body(BodyPart part) override;
  /// Errors: kH2StreamRefused and kH2GoAway (the upstream says that it did nothing for the stream),
  /// kUpstreamReset, kUpstreamTimeout, and malformed responses (RFC 9113 §8.1.1).
  [[nodiscard]] io::Task<Result<ResponseHead*>> read_head(Instant deadline) override;
  [[nodiscard]] io::Task<Result<BodyPart>> read_body(milliseconds idle) override;
  [[nodiscard]] Result<BodyPart> buffered_body() noexcept override;
  void cancel_send() noexcept override;
  void cancel_read() noexcept override;
  void cancel() noexcept override;
  [[nodiscard]] bool response_started() const noexcept override { return interim_ > 0 || head_in_; }
  [[nodiscard]] bool reusable() const noexcept override { return true; }

 private:
  friend class H2Client;
  // An upstream that sends interim responses without end would keep a request for ever.
  static constexpr unsigned kInterimMax = 8;

  H2HeadReader::Into head_room() override;
  Result<HeadFacts> finish_head(H2HeadReader& reader, bool end_stream) noexcept override;
  void on_input() noexcept override { input_.notify_all(); }
  void on_output() noexcept override { output_.notify_all(); }

  void end() noexcept;
  void look_again() noexcept;  ///< whoever waits here
  [[nodiscard]] Result<BodyPart> take_part() noexcept;
  [[nodiscard]] io::Task<Result<void>> until_taken(Instant deadline);
  [[nodiscard]] bool refused() const noexcept;
  [[nodiscard]] bool left_behind() const noexcept;  ///< beyond the last stream of a GOAWAY
  [[nodiscard]] std::unexpected<Error> gone() const noexcept;
  [[nodiscard]] std::unexpected<Error> timed_out() noexcept;

  /// What came of the response.
  struct Response : io::Pooled {
    ResponseHead head;
    H2HeadText text;
  };

  H2Client* connection_;  ///< null: detached
  std::unique_ptr<Response> response_;
  io::Signal input_;
  io::Signal output_;
  io::PooledBytes held_;  ///< the part that the reader has
  const milliseconds idle_;
  std::size_t slot_ = 0;  ///< in the connection's list
  unsigned interim_ = 0;
  Method asked_ = Method::kOther;
  bool head_in_ = false;
  bool body_done_ = false;
  bool read_cancelled_ = false;
  bool send_cancelled_ = false;
  bool gone_ = false;  ///< the connection is over
};

/// The client's side of HTTP/2 on one connection, which any number of exchanges share.
class H2Client final : private H2Connection {
 public:
  /// Who keeps the connection. Called from inside its own calls: begins and ends no exchange there.
  class Owner {
   public:
    virtual ~Owner() = default;
    /// `streams_max()`, `greeted()` or `goaway()` has changed.
    virtual void changed() noexcept = 0;
  };
  struct Options {
    H2Settings settings;
    std::string_view scheme;  ///< "https" or "http"; static
    /// Of a header block, of the answer to our SETTINGS, and how long a request may meet silence
    /// before the connection counts as dead.
    milliseconds head_timeout{10'000};
    milliseconds idle_timeout{60'000};  ///< without streams
  };
  /// Settings for a connection that carries at most `streams` at once. Its window holds what all of
  /// them may have unread: a slow one never takes the room of the others.
  [[nodiscard]] static H2Settings settings_for(std::uint32_t streams) noexcept;

  /// `stream` and `owner` outlive it.
  H2Client(io::Stream& stream, Owner& owner, const Options& options);
  ~H2Client() override;

  /// Reads and writes until the connection is over. Every exchange on it finds out. Returns why it
  /// ended when that was no good end, else code 0.
  [[nodiscard]] io::Task<Error> run();
  /// How many streams may be open at once; 0 when none can be opened: before the upstream's
  /// SETTINGS, after its GOAWAY, and at the end.
  [[nodiscard]] std::uint32_t streams_max() const noexcept { return aborted() ? 0 : outlook_.room; }
  /// Streams that are open now.
  [[nodiscard]] std::size_t streams() const noexcept { return streams_.size(); }
  /// The upstream has sent its SETTINGS: it speaks HTTP/2.
  [[nodiscard]] bool greeted() const noexcept { return session_.peer_settings_seen(); }
  /// The upstream allows no streams for the time being, and is expected to allow them again.
  [[nodiscard]] bool paused() const noexcept { return is_open() && outlook_.room == 0; }
  /// What the upstream said when it announced the end of the connection.
  [[nodiscard]] const std::optional<H2Session::GoAway>& goaway() const noexcept {
    return session_.peer_goaway();
  }
  /// Other timeouts than those of its options, from now on.
  void set_timeouts(milliseconds head, milliseconds idle) noexcept;
  /// Takes no new streams, and ends with the last one (RFC 9113 §6.8).
  void retire() noexcept;
  using H2Connection::abort;
  using H2Connection::aborted;
  using H2Connection::loop;

 private:
  friend class H2ClientStream;

  H2Stream* open_stream(std::int32_t) override { return nullptr; }
  void request_ready(H2Stream&) override {}
  void stream_closed(H2Stream&) noexcept override {}
  [[nodiscard]] Instant deadline() const noexcept override;
  void on_deadline() noexcept override;
  void on_received() override;
  void on_end() noexcept override;
  [[nodiscard]] bool reads_whatever_is_written() const noexcept override { return true; }

  void add(H2ClientStream& stream);
  void remove(H2ClientStream& stream) noexcept;
  [[nodiscard]] bool is_open() const noexcept;
  /// The upstream has greeted, and not acknowledged our SETTINGS.
  [[nodiscard]] bool owes_ack() const noexcept { return greeted() && !session_.settings_acked(); }
  void update_outlook() noexcept;
  void note_asked() noexcept;
  void note_timeout() noexcept;

  Owner& owner_;
  Options options_;
  std::vector<H2ClientStream*> streams_;
  /// What the owner is told of.
  struct Outlook {
    std::uint32_t room = 0;  ///< asked of for each request, by whoever looks for a connection
    bool greeted = false;
    std::optional<H2Code> goaway;
    friend bool operator==(const Outlook&, const Outlook&) = default;
  };
  Outlook outlook_;
  Instant greeted_at_{};
  Instant idle_since_;
  Instant received_at_{};
  Instant asked_at_{};  ///< the first request since then
  bool retired_ = false;
  bool over_ = false;
};

}  // namespace merlon::http
