#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "http/message.h"

namespace merlon::http {

/// What HTTP/2 adds to the header list of a field beside its name and value (RFC 9113 §6.5.2).
inline constexpr std::size_t kH2FieldOverheadBytes = 32;

/// Takes the fields of one HTTP/2 header block as they are decoded and makes the head of a message
/// of them: RFC 9113 §8.2 and §8.3, then the rules that HTTP/1.1 requests are held to. No I/O.
///
/// The first violation decides and is kept; what follows it is only counted, since a block has to
/// be decoded to its end whatever it holds (RFC 9113 §4.3). The head's views point into storage of
/// this reader, valid until reset() or destruction.
class H2HeadReader {
 public:
  /// `blame` is kClient for requests, kUpstream for responses.
  H2HeadReader(const HeadLimits& limits, Blame blame) noexcept : limits_(limits), blame_(blame) {}

  enum class Block : std::uint8_t { kHead, kTrailers };
  /// Begins a block whose regular fields go to `fields`, which outlives it.
  void begin(Fields& fields, Block block);
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
  [[nodiscard]] bool check_regular(std::string_view name, std::string_view known,
                                   std::string_view value, FieldId id) noexcept;
  [[nodiscard]] std::string_view keep(std::string_view bytes) noexcept;
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

  HeadLimits limits_;
  Blame blame_;
  Block block_ = Block::kHead;
  bool malformed_ = false;
  bool extended_connect_ = false;
  bool regular_begun_ = false;
  bool has_length_ = false;
  std::uint16_t cookies_ = 0;
  std::size_t list_bytes_ = 0;  ///< size of the header list so far, as RFC 9113 §6.5.2 counts it
  std::size_t kept_ = 0;        ///< bytes used of small_
  std::size_t kept_large_ = 0;  ///< bytes used of storage_
  Error error_{};
  Fields* fields_ = nullptr;
  std::array<std::string_view, static_cast<std::size_t>(Pseudo::kCount)> pseudo_{};
  // Most heads fit the first; the other one is made for those that do not.
  std::array<char, 2 * 1024> small_;
  std::unique_ptr<char[]> storage_;
  std::string cookie_;  ///< several cookie fields as one (RFC 9113 §8.2.3)
};

}  // namespace merlon::http
