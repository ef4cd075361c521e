#include <algorithm>

#include "http/h2_server.h"

/// A stream as the end of a tunnel (RFC 8441).
namespace merlon::http {
namespace {

// Memory that a stream keeps between messages; more is given back.
constexpr std::size_t kKeptBytes = 4 * 1024;

}  // namespace

io::Task<Result<void>> H2ServerStream::open_tunnel(ResponseHead& head) {
  head_sent_ = true;
  head.status = 200;
  head.fields.drop(FieldId::kSecWebSocketAccept);
  if (gone_ || !connection_.session().respond(*this, head, false, {}, false, {}))
    return io::Task<Result<void>>::ready(gone());
  connection_.pump();
  return io::Task<Result<void>>::ready({});
}

io::Attempt H2ServerStream::try_read(std::span<char> into) noexcept {
  if (inbox_.empty()) {
    if (input_done()) return io::Attempt::end();
    return gone_ ? io::Attempt::error(code::kH2StreamReset) : io::Attempt::would_block();
  }
  const std::size_t n = inbox_.copy(into.data(), into.size());
  inbox_.erase(0, n);
  if (inbox_.empty() && inbox_.capacity() > kKeptBytes) inbox_ = io::PooledBytes();
  connection_.session().consumed(*this, n);
  connection_.pump();
  return io::Attempt::moved(n);
}

io::Task<Result<void>> H2ServerStream::wait_readable(Instant deadline) {
  while (inbox_.empty() && !input_done() && !gone_) {
    const Result<void> waited = co_await input_.wait(deadline);
    if (!waited) co_return std::unexpected(waited.error());
  }
  co_return Result<void>{};
}

/// Takes all or nothing: what the windows do not let out at once is kept here, and until it has
/// gone nothing more is taken.
io::Attempt H2ServerStream::try_write(std::string_view bytes) noexcept {
  H2Session& session = connection_.session();
  if (gone_) return io::Attempt::error(code::kH2StreamReset);
  if (session.sending(*this)) return io::Attempt::would_block();
  session.send(*this, bytes, false, {});
  connection_.pump();
  if (session.sending(*this)) {
    rest_.assign(session.unsent(*this));
    session.move_unsent(*this, rest_);
  } else if (rest_.capacity() > kKeptBytes) {
    rest_ = std::string();
  }
  sent_ += bytes.size();
  return io::Attempt::moved(bytes.size());
}

io::Task<Result<void>> H2ServerStream::write(std::string_view bytes) {
  const Result<void> before = co_await until_taken();
  if (!before) co_return before;
  if (gone_) co_return gone();
  connection_.session().send(*this, bytes, false, {});
  connection_.pump();
  const Result<void> taken = co_await until_taken();
  if (taken) sent_ += bytes.size();
  co_return taken;
}

void H2ServerStream::finish_writing() noexcept {
  connection_.session().finish_output(*this);
  connection_.pump();
}

bool H2ServerStream::settled() const noexcept {
  return gone_ || !connection_.session().sending(*this);
}

void H2ServerStream::cancel_write() noexcept {
  output_cancelled_ = true;
  output_.notify_all();
}

}  // namespace merlon::http
