#include "http/tunnel_end.h"

namespace merlon::http {

io::Attempt StreamTunnelEnd::try_read(std::span<char> into) noexcept {
  io::Attempt got;
  if (!received_.empty()) {
    got = io::Attempt::moved(received_.copy(into.data(), into.size()));
    received_.remove_prefix(got.n);
  } else if (stream_->readable()) {
    got = stream_->try_read(into);
  } else {
    got = io::Attempt::would_block();
  }
  if (got.status == io::Attempt::Status::kOk) bytes_read_ += got.n;
  return got;
}

io::Task<Result<void>> StreamTunnelEnd::wait_readable(Instant deadline) {
  stream_->release_idle_memory();
  const Result<void> readable = co_await stream_->wait_readable(deadline);
  co_return readable;
}

io::Attempt StreamTunnelEnd::try_write(std::string_view bytes) noexcept {
  const iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
  const io::Attempt put = stream_->try_write({&piece, 1});
  if (put.status == io::Attempt::Status::kOk) bytes_written_ += put.n;
  return put;
}

io::Task<Result<void>> StreamTunnelEnd::write(std::string_view bytes) {
  iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
  const Result<void> written = co_await stream_->write_paced({&piece, 1});
  if (written) bytes_written_ += bytes.size();
  co_return written;
}

io::Task<Result<void>> StreamTunnelEnd::settle() {
  const Result<void> settled = co_await stream_->write_paced({});
  co_return settled;
}

}  // namespace merlon::http
