#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "gateway/worker.h"
#include "http/h2_server.h"
#include "io/task.h"

namespace merlon::gateway {

class RequestWay;

/// The requests of one HTTP/2 connection: each stream goes the same way as an HTTP/1.1 request.
/// Everything it refers to outlives it.
class Http2Requests final : private http::H2Server::Handler {
 public:
  Http2Requests(Worker& worker, io::Stream& stream, const ConnectionFacts& facts,
                std::uint32_t door);

  /// Serves until the connection is over; see H2Server::run.
  [[nodiscard]] io::Task<Error> run(std::string_view begun) { return server_.run(begun); }
  /// See H2Connection.
  [[nodiscard]] std::uint16_t input_error() const noexcept { return server_.input_error(); }
  void drain() noexcept { server_.drain(); }
  /// The worker's time is over. Called until the connection ends: requests that wait are answered
  /// so, and what does not end with these answers is cut off.
  void end() noexcept;
  void for_each_way(const std::function<void(RequestWay&)>& f) const;

 private:
  io::Task<void> serve(http::H2ServerStream& stream) override;
  [[nodiscard]] io::Task<void> serve_on(http::H2ServerStream& stream,
                                        std::unique_ptr<Transaction> transaction);
  [[nodiscard]] io::Task<void> shed(http::H2ServerStream& stream, std::uint16_t why);

  Worker& worker_;
  const ConnectionFacts& facts_;
  const std::uint32_t door_;  ///< Worker::doors_
  http::H2Server server_;
  Instant end_at_ = Instant::max();  ///< of a connection that is told to end
};

}  // namespace merlon::gateway
