#include <algorithm>
#include <charconv>

#include "gateway/request.h"
#include "http/status.h"

/// What a request that is a gRPC call has of its own on its way.
namespace merlon::gateway {

using http::BodyPart;
using http::FieldId;

namespace {

// A health check names a service of which nothing is known here but the empty name.
constexpr std::size_t kHealthRequestBytesMax = 1024;
// HealthCheckResponse (grpc.health.v1): a prefix, and field 1 with the value 1 or 2.
constexpr std::string_view kServing("\0\0\0\0\2\x08\1", 7);
constexpr std::string_view kNotServing("\0\0\0\0\2\x08\2", 7);

/// HealthCheckRequest without a service is an empty message, or one with an empty field 1.
bool asks_for_everything(std::string_view request) noexcept {
  constexpr std::string_view kEmpty("\0\0\0\0\0", 5);
  constexpr std::string_view kEmptyField("\0\0\0\0\2\x0a\0", 7);
  return request == kEmpty || request == kEmptyField;
}

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
    if (std::from_chars(field.value.data(), end, status).ptr == end) t_.record.grpc_status = status;
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
  const BodyPart end{.data = {}, .last = true, .trailers = t_.grpc.fail(http::status_for(failure))};
  // Whoever is gone by now is not told.
  [[maybe_unused]] const Result<void> told = co_await client_.send_body(end);
}

/// grpc.health.v1.Health/Check, as /readyz has it. Other methods, Watch among them, are not
/// implemented: clients then ask again.
io::Task<void> RequestWay::serve_grpc_health() {
  if (t_.reading.path.substr(kGrpcHealthService.size()) != "Check") {
    co_await refuse({.status = 404,
                     .error = {.code = code::kNoRoute,
                               .blame = Blame::kClient,
                               .what = "of health, only Check is served"},
                     .step = "route",
                     .line = &listener().at});
    co_return;
  }
  std::string asked;
  const Result<void> read = co_await read_health_request(asked);
  if (!read) {
    co_await refuse(framing_refusal(read.error()));
    co_return;
  }
  if (!asks_for_everything(asked)) {
    t_.body.clear();
    t_.grpc.refuse(t_.reply, 404, http::GrpcStatus::kNotFound);
    co_await send_own();
    co_return;
  }
  t_.body = worker_.shared().status_page("/readyz").status == 200 ? kServing : kNotServing;
  own_answer(200, "application/grpc");
  co_await send_own(t_.grpc.succeed());
}

io::Task<Result<void>> RequestWay::read_health_request(std::string& asked) {
  for (;;) {
    const Result<BodyPart> part = co_await client_.read_body();
    if (!part) co_return std::unexpected(part.error());
    if (asked.size() + part->data.size() > kHealthRequestBytesMax)
      co_return fail(code::kBadGrpcMessage, Blame::kClient, "no request of the health protocol");
    asked += part->data;
    if (part->last) co_return Result<void>{};
  }
}

}  // namespace merlon::gateway
