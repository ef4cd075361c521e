#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "http/exchange.h"
#include "http/grpc.h"

namespace merlon::gateway {

/// What is particular to a request that is a gRPC call. For any other it costs a branch.
struct GrpcCall {
  bool active = false;                   ///< over HTTP/2, with a Content-Type of gRPC
  bool bounded = false;                  ///< each message is bounded, not the sum of them
  std::uint16_t refused = 0;             ///< status of HTTP that a refusal stands for; 0: none
  std::optional<Instant> deadline;       ///< of the client (grpc-timeout)
  std::optional<http::GrpcStatus> told;  ///< the status of the call, once the gateway decided it
  http::GrpcMessages messages;
  std::string message;  ///< grpc-message
  std::array<http::Field, 2> trailers{};

  /// Looks at a request whose head is read.
  void begin(const http::ServerExchange& client) noexcept;
  /// Takes the client's deadline, counted from `started`. kBadGrpcTimeout.
  [[nodiscard]] Result<void> read_deadline(const http::RequestHead& head, Instant started) noexcept;
  [[nodiscard]] bool expired(Instant now) const noexcept { return deadline && now >= *deadline; }
  /// `idle`, or what is left of the deadline when that is less.
  [[nodiscard]] milliseconds wait(Instant now, milliseconds idle) const noexcept;
  /// Makes `reply` a trailers-only response for a refusal with this status of HTTP.
  void refuse(http::ResponseHead& reply, unsigned status) {
    refuse(reply, status, http::grpc_status_for(status));
  }
  void refuse(http::ResponseHead& reply, unsigned status, http::GrpcStatus told_status);
  /// The trailers that end a call which failed with this status after its response had begun.
  [[nodiscard]] std::span<const http::Field> fail(unsigned status);
  /// The trailers that end a call well.
  [[nodiscard]] std::span<const http::Field> succeed() noexcept;

 private:
  void decide(unsigned status, http::GrpcStatus told_status);
};

}  // namespace merlon::gateway
