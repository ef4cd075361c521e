#include "gateway/grpc_call.h"

#include <algorithm>

#include "http/status.h"

namespace merlon::gateway {

using http::FieldId;

void GrpcCall::begin(const http::ServerExchange& client) noexcept {
  active = bounded = false;
  refused = 0;
  deadline.reset();
  told.reset();
  // Over HTTP/1.1 there is no gRPC: its trailers would be lost on most clients.
  if (client.protocol() != "HTTP/2.0") return;
  active = http::is_grpc(client.request().fields.value(FieldId::kContentType));
}

Result<void> GrpcCall::read_deadline(const http::RequestHead& head, Instant started) noexcept {
  const http::Field* const timeout = head.fields.find(FieldId::kGrpcTimeout);
  if (timeout == nullptr) return {};
  const Result<nanoseconds> parsed = http::parse_grpc_timeout(timeout->value);
  if (!parsed) return std::unexpected(parsed.error());
  deadline = started + std::chrono::duration_cast<Instant::duration>(*parsed);
  return {};
}

milliseconds GrpcCall::wait(Instant now, milliseconds idle) const noexcept {
  if (!deadline) return idle;
  const auto left = std::chrono::ceil<milliseconds>(*deadline - now);
  return std::clamp(left, milliseconds{0}, idle);
}

void GrpcCall::decide(unsigned status, http::GrpcStatus told_status) {
  refused = static_cast<std::uint16_t>(status);
  told = told_status;
  message.clear();
  http::append_grpc_message(message, http::reason_phrase(status));
}

void GrpcCall::refuse(http::ResponseHead& reply, unsigned status, http::GrpcStatus told_status) {
  decide(status, told_status);
  reply.status = 200;
  reply.fields.clear();
  reply.fields.add("content-type", "application/grpc", FieldId::kContentType);
  reply.fields.add("grpc-status", http::grpc_status_text(*told), FieldId::kGrpcStatus);
  reply.fields.add("grpc-message", message, FieldId::kGrpcMessage);
  // Neither a body nor a length: the head ends the stream.
  reply.framing = http::Framing::kChunked;
  reply.content_length = 0;
  reply.has_content_length = false;
}

std::span<const http::Field> GrpcCall::fail(unsigned status) {
  decide(status, http::grpc_status_for(status));
  trailers[0] = {.name = "grpc-status",
                 .value = http::grpc_status_text(*told),
                 .id = FieldId::kGrpcStatus,
                 .dropped = false};
  trailers[1] = {
      .name = "grpc-message", .value = message, .id = FieldId::kGrpcMessage, .dropped = false};
  return trailers;
}

std::span<const http::Field> GrpcCall::succeed() noexcept {
  told = http::GrpcStatus::kOk;
  trailers[0] = {.name = "grpc-status", .value = "0", .id = FieldId::kGrpcStatus, .dropped = false};
  return std::span(trailers).first(1);
}

}  // namespace merlon::gateway
