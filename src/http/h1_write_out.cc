#include "http/h1_write_out.h"

#include <algorithm>
#include <string>

namespace merlon::http {
namespace {

// A response head may carry 32 KiB of the upstream's and what the gateway adds.
constexpr std::size_t kScratchBytes = 48 * 1024;

iovec piece(std::string_view bytes) noexcept {
  return {const_cast<char*>(bytes.data()), bytes.size()};
}

/// Takes `n` written bytes off the front of the pieces.
void advance(std::span<iovec> pieces, std::size_t n) noexcept {
  for (iovec& p : pieces) {
    const std::size_t taken = std::min(n, p.iov_len);
    p.iov_base = static_cast<char*>(p.iov_base) + taken;
    p.iov_len -= taken;
    n -= taken;
  }
}

std::string end_of_body(std::span<const Field> trailers) {
  std::string text = "0\r\n";
  for (const Field& field : trailers) {
    text.append(field.name).append(": ").append(field.value).append("\r\n");
  }
  text += "\r\n";
  return text;
}

}  // namespace

std::span<char> head_scratch() noexcept {
  thread_local std::array<char, kScratchBytes> scratch;
  return scratch;
}

io::Task<Result<void>> write_out(io::Stream& stream, std::string_view head, OutPart part,
                                 Instant deadline) {
  char chunk_header[kChunkHeaderBytesMax];
  std::string kept;  // trailers, or the rest of the head when the socket is full
  std::array<iovec, 5> pieces{};
  std::size_t count = 0;
  if (!head.empty()) pieces[count++] = piece(head);
  if (!part.data.empty()) {
    if (part.chunked)
      pieces[count++] = piece({chunk_header, write_chunk_header(chunk_header, part.data.size())});
    pieces[count++] = piece(part.data);
    if (part.chunked) pieces[count++] = piece(kChunkEnd);
  }
  if (part.chunked && part.last) {
    if (!part.trailers.empty()) kept = end_of_body(part.trailers);
    pieces[count++] = piece(kept.empty() ? kLastChunk : std::string_view(kept));
  }
  if (count == 0) co_return Result<void>{};

  std::span<iovec> left(pieces.data(), count);
  std::size_t total = 0;
  for (const iovec& p : left) total += p.iov_len;
  const io::Attempt first = stream.try_write(left);
  if (first.status == io::Attempt::Status::kError)
    co_return fail(first.code, Blame::kInternal, "writing failed");
  if (first.status == io::Attempt::Status::kOk) {
    if (first.n == total) co_return Result<void>{};
    advance(left, first.n);
  }
  std::string head_left;
  if (!head.empty() && left[0].iov_len > 0) {
    head_left.assign(static_cast<const char*>(left[0].iov_base), left[0].iov_len);
    left[0] = piece(head_left);
  }
  const Result<void> written = co_await stream.write(left, deadline);
  co_return written;
}

}  // namespace merlon::http
