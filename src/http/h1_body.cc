#include "http/h1_body.h"

#include <algorithm>
#include <charconv>

#include "base/ascii.h"
#include "http/field_bytes.h"

namespace merlon::http {
namespace {

constexpr unsigned kSizeDigitsMax = 16;
/// So that sums of chunk sizes cannot overflow before any limit on bodies applies.
constexpr std::uint64_t kChunkBytesMax = UINT64_MAX >> 1;

}  // namespace

std::unexpected<Error> ChunkedDecoder::bad(std::uint16_t code, const char* what) noexcept {
  state_ = State::kFailed;
  return fail(code, blame_, what);
}

Result<ChunkedDecoder::Step> ChunkedDecoder::next(std::string_view in) noexcept {
  if (state_ == State::kFailed) return bad(code::kBadChunk, "body failed before");
  Step step;
  while (step.consumed < in.size() && state_ != State::kDone) {
    if (state_ == State::kData) {
      step.data = in.substr(step.consumed);
      if (chunk_left_ < step.data.size()) {
        step.data = step.data.substr(0, static_cast<std::size_t>(chunk_left_));
      }
      step.consumed += step.data.size();
      chunk_left_ -= step.data.size();
      body_bytes_ += step.data.size();
      extension_bytes_ -=
          static_cast<std::uint32_t>(std::min<std::size_t>(extension_bytes_, step.data.size()));
      if (chunk_left_ == 0) state_ = State::kDataCr;
      return step;
    }
    if (auto ok = on_byte(in[step.consumed]); !ok) return std::unexpected(ok.error());
    ++step.consumed;
  }
  step.done = state_ == State::kDone;
  return step;
}

Result<void> ChunkedDecoder::on_byte(char c) noexcept {
  switch (state_) {
    case State::kSize:
      return on_size(c);
    case State::kExtension:
      return on_extension(c);
    case State::kSizeLf:
      if (c != '\n') return bad(code::kBareLineEnd, "CR without LF after a chunk size");
      end_size_line();
      return {};
    case State::kDataCr:
      if (c != '\r') return bad(code::kBadChunk, "chunk data is not followed by CRLF");
      state_ = State::kDataLf;
      return {};
    case State::kDataLf:
      if (c != '\n') return bad(code::kBareLineEnd, "CR without LF after chunk data");
      state_ = State::kSize;
      return {};
    case State::kTrailer:
      return on_trailer(c);
    case State::kTrailerLf:
      if (c != '\n') return bad(code::kBareLineEnd, "CR without LF in the trailers");
      return end_trailer_line();
    case State::kData:
    case State::kDone:
    case State::kFailed:
      break;
  }
  return bad(code::kBadChunk, "no chunk framing is expected here");
}

Result<void> ChunkedDecoder::on_size(char c) noexcept {
  if (const int digit = ascii::hex_value(c); digit >= 0) {
    if (++digits_ > kSizeDigitsMax) return bad(code::kBadChunk, "chunk size has too many digits");
    if (chunk_left_ > (kChunkBytesMax >> 4)) return bad(code::kBadChunk, "chunk size overflows");
    chunk_left_ = chunk_left_ << 4 | static_cast<unsigned>(digit);
    return {};
  }
  if (digits_ == 0) return bad(code::kBadChunk, "chunk size is missing");
  if (c == '\r') {
    state_ = State::kSizeLf;
  } else if (c == ';') {
    extension_ = Extension::kName0;
    state_ = State::kExtension;
  } else if (c == '\n') {
    return bad(code::kBareLineEnd, "LF without CR after a chunk size");
  } else {
    return bad(code::kBadChunk, "chunk size has a non-digit");
  }
  return {};
}

/// `chunk-ext` without the white space that RFC 9112 §7.1.1 calls bad.
Result<void> ChunkedDecoder::on_extension(char c) noexcept {
  if (++extension_bytes_ > limits_.extension_bytes_max) {
    return bad(code::kBadChunk, "chunk extensions are too long");
  }
  if (c == '\n') return bad(code::kBareLineEnd, "LF without CR in a chunk extension");
  const bool token = ascii::kTokenChars.contains(c);
  const auto to = [this](Extension next) {
    extension_ = next;
    return Result<void>{};
  };
  switch (extension_) {
    case Extension::kName0:
      if (token) return to(Extension::kName);
      break;
    case Extension::kName:
      if (token) return {};
      if (c == '=') return to(Extension::kValue0);
      return end_extension(c);
    case Extension::kValue0:
      if (token) return to(Extension::kValue);
      if (c == '"') return to(Extension::kQuoted);
      break;
    case Extension::kValue:
      if (token) return {};
      return end_extension(c);
    case Extension::kQuoted:
      if (c == '"') return to(Extension::kQuoteEnd);
      if (c == '\\') return to(Extension::kEscape);
      if (is_value_byte(c)) return {};
      break;
    case Extension::kEscape:
      if (is_value_byte(c)) return to(Extension::kQuoted);
      break;
    case Extension::kQuoteEnd:
      return end_extension(c);
  }
  return bad(code::kBadChunk, "chunk extension is malformed");
}

Result<void> ChunkedDecoder::end_extension(char c) noexcept {
  if (c == ';') {
    extension_ = Extension::kName0;
  } else if (c == '\r') {
    state_ = State::kSizeLf;
  } else {
    return bad(code::kBadChunk, "chunk extension is malformed");
  }
  return {};
}

void ChunkedDecoder::end_size_line() noexcept {
  digits_ = 0;
  state_ = chunk_left_ == 0 ? State::kTrailer : State::kData;
}

Result<void> ChunkedDecoder::on_trailer(char c) noexcept {
  if (c == '\r') {
    state_ = State::kTrailerLf;
    return {};
  }
  if (c == '\n') return bad(code::kBareLineEnd, "LF without CR in the trailers");
  if (!is_value_byte(c)) return bad(code::kBadTrailer, "control character in the trailers");
  if (trailer_end_ == kTrailerBytesMax) return bad(code::kBadTrailer, "trailers are too long");
  storage_[trailer_end_++] = c;
  return {};
}

Result<void> ChunkedDecoder::end_trailer_line() noexcept {
  const std::string_view line(storage_.data() + trailer_line_,
                              static_cast<std::size_t>(trailer_end_ - trailer_line_));
  if (line.empty()) {
    state_ = State::kDone;
    return {};
  }
  const std::size_t colon = std::min(line.find(':'), line.size());
  const std::string_view name = line.substr(0, colon);
  if (colon == line.size() || !ascii::is_token(name)) {
    return bad(code::kBadTrailer, "trailer line is not name and value");
  }
  state_ = State::kTrailer;
  trailer_line_ = trailer_end_;
  const FieldId id = field_id(name);
  if (has_trait(id, FieldTrait::kNeverInTrailers) || aliased_field(name) != FieldId::kOther) {
    // A response is not worth less for it (RFC 9112 §7.1.2): over HTTP/2 it is left out as well.
    if (blame_ == Blame::kUpstream) return {};
    return bad(code::kBadTrailer, "field must not come in a trailer");
  }
  if (trailer_count_ == kTrailersMax) return bad(code::kBadTrailer, "too many trailers");
  trailers_[trailer_count_++] =
      Field{.name = name, .value = ascii::trim_ows(line.substr(colon + 1)), .id = id};
  return {};
}

void ChunkedDecoder::reset(Blame blame) noexcept {
  blame_ = blame;
  state_ = State::kSize;
  digits_ = 0;
  trailer_count_ = 0;
  trailer_line_ = trailer_end_ = 0;
  extension_bytes_ = 0;
  chunk_left_ = 0;
  body_bytes_ = 0;
}

std::size_t write_chunk_header(char* out, std::uint64_t size) noexcept {
  const auto [end, error] = std::to_chars(out, out + kSizeDigitsMax, size, 16);
  end[0] = '\r';
  end[1] = '\n';
  return static_cast<std::size_t>(end - out) + 2;
}

}  // namespace merlon::http
