#include "http/h1_write_out.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

namespace merlon::http {
namespace {

// A response head may carry 32 KiB of the upstream's, 16 lines of 4 KiB that a route sets, and what
// policies add; a request's 16 KiB of the client's, its certificate and its claims.
constexpr std::size_t kScratchBytes = 128 * 1024;

// Up to here a body is copied behind its head, to be sent as one run of bytes.
constexpr std::size_t kJoinBytesMax = 8 * 1024;

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

/// The pieces of one write, with what belongs to none else.
struct Pieces {
  std::array<iovec, 5> all{};
  std::size_t count = 0;
  std::array<char, kChunkHeaderBytesMax> chunk_header;
  std::string end;  ///< the trailers

  void add(std::string_view bytes) noexcept { all[count++] = piece(bytes); }
  [[nodiscard]] std::size_t bytes() const noexcept {
    std::size_t total = 0;
    for (std::size_t i = 0; i < count; ++i) total += all[i].iov_len;
    return total;
  }
};

void add_part(Pieces& pieces, const OutPart& part) {
  if (!part.data.empty()) {
    if (part.chunked)
      pieces.add({pieces.chunk_header.data(),
                  write_chunk_header(pieces.chunk_header.data(), part.data.size())});
    pieces.add(part.data);
    if (part.chunked) pieces.add(kChunkEnd);
  }
  if (!part.chunked || !part.last) return;
  if (!part.trailers.empty()) pieces.end = end_of_body(part.trailers);
  pieces.add(pieces.end.empty() ? kLastChunk : std::string_view(pieces.end));
}

/// One run of bytes in the scratch in place of several pieces, when they are few: copying a little
/// is cheaper than what the kernel does for a list.
bool join(Pieces& pieces, std::string_view head) noexcept {
  const std::span<char> scratch = head_scratch();
  if (head.data() != scratch.data() || pieces.bytes() > std::min(kJoinBytesMax, scratch.size()))
    return false;
  char* at = scratch.data() + head.size();
  for (std::size_t i = 1; i < pieces.count; ++i) {
    std::memcpy(at, pieces.all[i].iov_base, pieces.all[i].iov_len);
    at += pieces.all[i].iov_len;
  }
  pieces.all[0].iov_len = static_cast<std::size_t>(at - scratch.data());
  pieces.count = 1;
  return true;
}

/// What the socket did not take at once: `kept`, then `data`, then `end`.
io::Task<Result<void>> write_rest(io::Stream& stream, std::string kept, std::string_view data,
                                  std::string end, WritePatience patience) {
  std::array<iovec, 3> pieces = {piece(kept), piece(data), piece(end)};
  if (const auto* const pace = std::get_if<io::Stream::Pace>(&patience)) {
    const Result<void> paced = co_await stream.write_paced(pieces, *pace);
    co_return paced;
  }
  const Result<void> written = co_await stream.write(pieces, std::get<Instant>(patience));
  co_return written;
}

}  // namespace

std::span<char> head_scratch() noexcept {
  thread_local std::array<char, kScratchBytes> scratch;
  return scratch;
}

io::Task<Result<void>> write_out(io::Stream& stream, std::string_view head, OutPart part,
                                 WritePatience patience) {
  using Done = io::Task<Result<void>>;
  Pieces pieces;
  if (!head.empty()) pieces.add(head);
  add_part(pieces, part);
  if (pieces.count == 0) return Done::ready({});
  const bool joined = !head.empty() && pieces.count > 1 && join(pieces, head);
  const std::span<iovec> all(pieces.all.data(), pieces.count);
  const std::size_t total = pieces.bytes();
  const io::Attempt first = stream.try_write(all);
  if (first.status == io::Attempt::Status::kError)
    return Done::ready(fail(first.code, Blame::kInternal, "writing failed"));
  if (first.status == io::Attempt::Status::kOk) {
    if (first.n == total) return Done::ready({});
    advance(all, first.n);
  }
  // The scratch and this frame's pieces go: all but the body itself is copied.
  std::string kept;
  std::string end;
  std::string_view data;
  for (const iovec& left : all) {
    const std::string_view bytes(static_cast<const char*>(left.iov_base), left.iov_len);
    const bool body = !joined && !part.data.empty() && bytes.data() >= part.data.data() &&
                      bytes.data() + bytes.size() == part.data.data() + part.data.size();
    if (body) {
      data = bytes;
    } else {
      (data.empty() ? kept : end).append(bytes);
    }
  }
  return write_rest(stream, std::move(kept), data, std::move(end), patience);
}

}  // namespace merlon::http
