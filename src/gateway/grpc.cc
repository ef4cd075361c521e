#include <charconv>

#include "gateway/request.h"
#include "http/status.h"

/// What a request that is a gRPC call has of its own on its way.
namespace merlon::gateway {

using http::BodyPart;
using http::FieldId;

namespace {
// For the status of a call that is over: a client that reads has it at once.
constexpr seconds kLastWord{1};
}  // namespace

/// The size of a body is that of its messages, one by one, where all of the route is gRPC.
Result<void> RequestWay::check_body_size(std::string_view part) noexcept {
  if (t_.grpc.bounded) return t_.grpc.messages.take(part);
  if (client_.bytes_received() <= t_.route->body_bytes_max) return {};
  return fail(code::kBodyTooLarge, Blame::kClient, "the body is larger than the route takes");
}

void RequestWay::note_grpc_status(std::span<const http::Field> fields) noexcept {
  for (const http::Field& field : fields) {
    if (field.id != FieldId::kGrpcStatus) continue;
    std::int16_t status = -1;
    const char* const end = field.value.data() + field.value.size();
    if (std::from_chars(field.value.data(), end, status).ptr == end)
      t_.outcome.grpc_status = status;
  }
}

/// The status comes in the trailers, or in the head of a response that has nothing else.
void RequestWay::note_grpc_response(const http::Fields& head, const BodyPart& first) noexcept {
  const http::Field* const status = head.find(FieldId::kGrpcStatus);
  if (status != nullptr) note_grpc_status({status, 1});
  note_grpc_status(first.trailers);
}

/// Ends a call that failed after its response had begun: with trailers that say so, in place of a
/// reset that says nothing.
io::Task<void> RequestWay::end_call(Error failure) {
  // The request's body went wrong, and whoever read it stopped the response.
  if (pumped_.code != 0 && failure.code == code::kCancelled) failure = pumped_;
  if (failure.code == code::kCancelled) failure.code = code::kUpstreamReset;
  const bool in_time = !t_.grpc.expired(worker_.loop().now());
  Result<void> told = co_await tell_end(http::status_for(failure));
  // Its time went by while the end waited for the client's windows.
  if (!told && in_time && told.error().code == code::kTimedOut)
    told = co_await tell_end(http::status_for(kCallExpired));
  // Whoever is gone by now was not told.
  if (!told) t_.grpc.told.reset();
}

io::Task<Result<void>> RequestWay::tell_end(unsigned status) {
  // A client whose time is over, and that keeps its windows shut, is not waited for again.
  if (t_.grpc.expired(worker_.loop().now())) {
    client_.give_up_unsent();
    client_.expect_messages(kLastWord, Instant::max());
  }
  return client_.send_body({.data = {}, .last = true, .trailers = t_.grpc.fail(status)});
}

}  // namespace merlon::gateway
