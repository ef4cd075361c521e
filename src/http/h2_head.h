#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/error.h"
#include "http/message.h"

namespace merlon::http {

/// What HTTP/2 adds to the header list of a field beside its name and value (RFC 9113 §6.5.2).
inline constexpr std::size_t kH2FieldOverheadBytes = 32;

/// The text of one header block: what the views of its head point into, until clear() or the end.
class H2HeadText {
 public:
  void clear() noexcept { kept_ = kept_large_ = 0; }
  /// A copy of `bytes`. All that is kept between two clears has `most` bytes at most, the same for
  /// each call.
  [[nodiscard]] std::string_view keep(std::string_view bytes, std::size_t most) noexcept;
  /// Room for one text more, which clear() does not give back. Replaces the one before.
  [[nodiscard]] std::span<char> make_room(std::size_t bytes);

 private:
  std::size_t kept_ = 0;        ///< bytes used of few_
  std::size_t kept_large_ = 0;  ///< bytes used of many_
  std::unique_ptr<char[]> many_;
  std::unique_ptr<char[]> more_;
  // Most heads fit here; `many_` is made for those that do not.
  std::array<char, 2 * 1024> few_;
};

/// Takes the fields of one HTTP/2 header block as they are decoded and makes the head of a message
/// of them: RFC 9113 §8.2 and §8.3, then the rules that HTTP/1.1 requests are held to. No I/O.
///
/// The first violation decides and is kept; what follows it is only counted, since a block has to
/// be decoded to its end whatever it holds (RFC 9113 §4.3). Blocks of a connection come one after
/// the other (RFC 9113 §4.3), so one reader serves all its streams.
class H2HeadReader {
 public:
  /// `blame` is kClient for requests, kUpstream for responses.
  explicit H2HeadReader(Blame blame) noexcept : blame_(blame) {}

  enum class Block : std::uint8_t { kHead, kTrailers };
  /// Where a block goes: its regular fields, and their text. Both outlive the block.
  struct Into {
    Fields& fields;
    H2HeadText& text;
    HeadLimits limits;
  };
  void begin(const Into& into, Block block);
  /// One field, in the order of the block. Names and values may hold any byte.
  void add(std::string_view name, std::string_view value) noexcept;

  /// Ends the block of a request. `end_stream`: no body follows. Errors, client blame: malformed
  /// ones (RFC 9113 §8.1.1; see malformed()), and those of HTTP/1.1 requests: kBadHost, kBadTarget,
  /// kAliasedField, kUnsupportedExpect, kConnectRefused, kHeadTooLarge, kTooManyFields …
  [[nodiscard]] Result<void> finish_request(bool end_stream, RequestHead& out) noexcept;
  /// Ends the block of a response to a request with method `asked`. An interim one has a status
  /// below 200.
  [[nodiscard]] Result<void> finish_response(bool end_stream, Method asked,
                                             ResponseHead& out) noexcept;
  /// Ends a block of trailers: no pseudo-fields. A client's trailer with a field that must not come
  /// there (RFC 9110 §6.5.1) is kBadTrailer; of an upstream's, such fields are left out.
  [[nodiscard]] Result<void> finish_trailers() noexcept;

  /// The failure is one that RFC 9113 calls malformed: the stream is reset. Other failures are
  /// answered with a status.
  [[nodiscard]] bool malformed() const noexcept { return malformed_; }

  /// Lets requests have `:protocol` (RFC 8441 §4), which our settings have told the client of.
  void allow_extended_connect() noexcept { extended_connect_ = true; }

 private:
  enum class Pseudo : std::uint8_t {
    kMethod,
    kScheme,
    kAuthority,
    kPath,
    kStatus,
    kProtocol,
    kCount
  };

  void fail_once(std::uint16_t code, const char* what, bool malformed) noexcept;
  void add_pseudo(std::string_view name, std::string_view value) noexcept;
  void add_regular(std::string_view name, std::string_view value) noexcept;
  [[nodiscard]] bool check_regular(std::string_view name, bool known, std::string_view value,
                                   FieldId id) noexcept;
  [[nodiscard]] std::string_view keep(std::string_view bytes) noexcept {
    return text_->keep(bytes, limits_.head_bytes_max);
  }
  [[nodiscard]] std::string_view pseudo(Pseudo which) const noexcept {
    return pseudo_[static_cast<std::size_t>(which)];
  }
  [[nodiscard]] bool has(Pseudo which) const noexcept { return pseudo(which).data() != nullptr; }
  void read_request_pseudo(RequestHead& out) noexcept;
  void read_connect(RequestHead& out) noexcept;
  void judge_handshake(bool end_stream, RequestHead& out) noexcept;
  void judge_host(RequestHead& out) noexcept;
  void read_length(bool end_stream, Framing& framing, std::uint64_t& length) noexcept;
  void join_cookies() noexcept;
  [[nodiscard]] Result<void> outcome() const noexcept;

  HeadLimits limits_{};
  const Blame blame_;
  Block block_ = Block::kHead;
  bool malformed_ = false;
  bool extended_connect_ = false;
  bool regular_begun_ = false;
  bool has_length_ = false;
  std::uint16_t cookies_ = 0;
  std::size_t list_bytes_ = 0;  ///< size of the header list so far, as RFC 9113 §6.5.2 counts it
  Error error_{};
  Fields* fields_ = nullptr;
  H2HeadText* text_ = nullptr;
  std::array<std::string_view, static_cast<std::size_t>(Pseudo::kCount)> pseudo_{};
};

}  // namespace merlon::http
