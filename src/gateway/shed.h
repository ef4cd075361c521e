#pragma once

#include <memory>
#include <string>

#include "gateway/grpc_call.h"
#include "gateway/worker.h"

namespace merlon::gateway {

/// The answer to a request that nothing can be done for: 503, with all that the door sets; to a
/// gRPC call the same as trailers.
struct ShedAnswer {
  telemetry::RequestId id;  ///< the head points to it
  http::ResponseHead head;
  std::string body;
  GrpcCall grpc;  ///< the head points to it
};

/// Makes it, counts it and writes its line of the access log, without a transaction: a refused
/// request costs less than one that is served. `request` is null when its head was not read. `why`:
/// kOverloaded; or kDraining, when the listener is no longer in the configuration.
[[nodiscard]] std::unique_ptr<ShedAnswer> shed_request(Worker& worker, const ConnectionFacts& facts,
                                                       std::uint32_t door,
                                                       std::string_view protocol,
                                                       const http::RequestHead* request,
                                                       std::uint16_t why);

}  // namespace merlon::gateway
