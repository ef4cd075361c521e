#include "upstream/shared_connection.h"

#include <algorithm>
#include <utility>

#include "upstream/pool.h"

namespace merlon::upstream {
namespace {

http::H2Client::Options options_for(const Upstream& upstream) {
  return {.settings = http::H2Client::settings_for(SharedConnection::kStreamsMax),
          .scheme = upstream.tls != nullptr ? "https" : "http",
          .head_timeout = upstream.response_timeout,
          .idle_timeout = upstream.idle_timeout};
}

}  // namespace

SharedConnection::SharedConnection(Cluster& cluster, std::size_t endpoint,
                                   std::unique_ptr<io::SocketStream> stream)
    : cluster_(&cluster),
      stream_(std::move(stream)),
      client_(*stream_, *this, options_for(cluster.upstream())),
      greeted_(stream_->loop()),
      endpoint_(endpoint) {}

std::uint32_t SharedConnection::room() const noexcept {
  const std::uint32_t most = std::min(client_.streams_max(), kStreamsMax);
  return most > users_ ? most - users_ : 0;
}

void SharedConnection::changed() noexcept {
  greeted_.notify_all();
  if (cluster_ == nullptr) return;
  const auto& goaway = client_.goaway();
  const bool failed = goaway && goaway->code != http::H2Code::kNoError;
  if (failed && !std::exchange(told_, true)) cluster_->tell_goaway(*this);
  cluster_->room_changed();
}

io::Task<Result<void>> SharedConnection::greeting(Instant deadline) {
  while (!over_ && !client_.greeted()) {
    const Result<void> waited = co_await greeted_.wait(deadline);
    if (!waited) co_return std::unexpected(waited.error());
  }
  if (client_.greeted() && !over_) co_return Result<void>{};
  co_return fail(code::kUpstreamNotH2, Blame::kUpstream, "the upstream does not speak HTTP/2");
}

io::Task<void> SharedConnection::live(std::shared_ptr<SharedConnection> self) {
  const Error why = co_await self->client_.run();
  self->over_ = true;
  self->greeted_.notify_all();
  self->stream_->finish_writing();
  if (self->cluster_ != nullptr) self->cluster_->forget(*self, why);
}

}  // namespace merlon::upstream
