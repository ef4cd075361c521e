#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/error.h"
#include "http/fields.h"

namespace merlon::http {

/// Bounds on what chunked coding adds to a body.
struct ChunkLimits {
  /// Of all extensions of one body together, beyond as many bytes as it has had of data. They mean
  /// nothing to Merlon and are dropped; without a sum, one-byte chunks make them an amplifier
  /// (CVE-2023-39326).
  std::uint32_t extension_bytes_max = 4 * 1024;
};

/// Decodes a chunked body (RFC 9112 §7.1) in place: the data it hands out are slices of the input.
/// Strict: CRLF only, no white space, extensions by their grammar, at most 16 digits.
class ChunkedDecoder {
 public:
  static constexpr std::size_t kTrailerBytesMax = 2048;  ///< names and values of the whole section
  static constexpr std::size_t kTrailersMax = 16;

  /// `blame` is kClient for requests, kUpstream for responses.
  explicit ChunkedDecoder(Blame blame = Blame::kClient, const ChunkLimits& limits = {}) noexcept
      : limits_(limits), blame_(blame) {}

  struct Step {
    std::size_t consumed = 0;  ///< bytes of the input that are done with, those of `data` included
    std::string_view data;     ///< body bytes, a slice of the input; may be empty
    bool done = false;         ///< the body and its trailers are complete; nothing more is consumed
  };

  /// Takes up to one run of body bytes from `in`. Call again with the rest while something is
  /// consumed and not done; when all is consumed, with what came next. Nothing of the input has to
  /// be kept: what is undecided is remembered inside. Errors are kBadChunk, kBadTrailer,
  /// kBareLineEnd, final for this decoder.
  [[nodiscard]] Result<Step> next(std::string_view in) noexcept;

  [[nodiscard]] bool done() const noexcept { return state_ == State::kDone; }
  /// Body bytes handed out so far.
  [[nodiscard]] std::uint64_t body_bytes() const noexcept { return body_bytes_; }
  /// Bytes that the current chunk still lacks; 0 between chunks. A hint for how much to read.
  [[nodiscard]] std::uint64_t chunk_left() const noexcept { return chunk_left_; }

  /// Trailer fields, complete when done(). Views into storage of this decoder: valid until reset()
  /// or destruction, and not after a copy or move. Fields that must not come in a trailer (RFC 9110
  /// §6.5.1: framing, routing, authentication, content, and whatever the gateway judges) are left
  /// out of responses and refused in requests: these may be forwarded, never merged into the head.
  [[nodiscard]] std::span<const Field> trailers() const noexcept {
    return {trailers_.data(), trailer_count_};
  }

  /// Ready for another body.
  void reset(Blame blame) noexcept;

  ChunkedDecoder(const ChunkedDecoder&) = delete;
  ChunkedDecoder& operator=(const ChunkedDecoder&) = delete;

 private:
  enum class State : std::uint8_t {
    kSize,
    kExtension,
    kSizeLf,
    kData,
    kDataCr,
    kDataLf,
    kTrailer,
    kTrailerLf,
    kDone,
    kFailed,
  };
  /// Where in `chunk-ext = *( ";" token [ "=" ( token / quoted-string ) ] )` the line is.
  enum class Extension : std::uint8_t {
    kName0,
    kName,
    kValue0,
    kValue,
    kQuoted,
    kEscape,
    kQuoteEnd
  };

  [[nodiscard]] std::unexpected<Error> bad(std::uint16_t code, const char* what) noexcept;
  [[nodiscard]] Result<void> on_byte(char c) noexcept;
  [[nodiscard]] Result<void> on_size(char c) noexcept;
  [[nodiscard]] Result<void> on_extension(char c) noexcept;
  [[nodiscard]] Result<void> end_extension(char c) noexcept;
  [[nodiscard]] Result<void> on_trailer(char c) noexcept;
  [[nodiscard]] Result<void> end_trailer_line() noexcept;
  void end_size_line() noexcept;

  ChunkLimits limits_;
  Blame blame_;
  State state_ = State::kSize;
  Extension extension_ = Extension::kName0;
  std::uint8_t digits_ = 0;
  std::uint8_t trailer_count_ = 0;
  std::uint16_t trailer_line_ = 0;  ///< where the trailer line being read starts in storage_
  std::uint16_t trailer_end_ = 0;
  std::uint32_t extension_bytes_ = 0;
  std::uint64_t chunk_left_ = 0;
  std::uint64_t body_bytes_ = 0;
  std::array<Field, kTrailersMax> trailers_{};
  std::array<char, kTrailerBytesMax> storage_;
};

/// Counts a body whose length is known (RFC 9112 §6.2).
class LengthDecoder {
 public:
  explicit LengthDecoder(std::uint64_t length = 0) noexcept : left_(length) {}

  /// The part of `in` that belongs to the body; what follows it is not ours. Empty when done.
  [[nodiscard]] std::string_view take(std::string_view in) noexcept {
    const std::string_view part =
        in.substr(0, left_ < in.size() ? static_cast<std::size_t>(left_) : in.size());
    left_ -= part.size();
    return part;
  }
  [[nodiscard]] bool done() const noexcept { return left_ == 0; }
  [[nodiscard]] std::uint64_t left() const noexcept { return left_; }

 private:
  std::uint64_t left_;
};

/// The longest chunk header: 16 digits and CRLF.
inline constexpr std::size_t kChunkHeaderBytesMax = 18;
/// Ends the data of each chunk.
inline constexpr std::string_view kChunkEnd = "\r\n";
/// Ends a chunked body that has no trailers.
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

/// Writes the header of a chunk of `size` bytes ("1f4\r\n") into `out`, which has room for
/// kChunkHeaderBytesMax. Returns its length. `size` must not be 0: that would end the body.
std::size_t write_chunk_header(char* out, std::uint64_t size) noexcept;

}  // namespace merlon::http
