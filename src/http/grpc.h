#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/time.h"

/// What gRPC says over HTTP/2 beside its messages: deadlines, outcomes, and how messages are told
/// apart. Source: "gRPC over HTTP2", PROTOCOL-HTTP2.md of the gRPC project.
namespace merlon::http {

/// Content-Type is application/grpc, with a suffix (`+proto`) or parameters or none; gRPC-Web is
/// another protocol.
[[nodiscard]] bool is_grpc(std::string_view content_type) noexcept;

/// A path "/package.Service/Method", or the part of it before the method with a final slash left
/// out: identifiers of protobuf, joined by dots.
[[nodiscard]] bool is_grpc_service_name(std::string_view name) noexcept;

/// Parses `grpc-timeout`: at most eight digits and a unit (H, M, S, m, u, n). Anything else is
/// kBadGrpcTimeout, client blame.
[[nodiscard]] Result<nanoseconds> parse_grpc_timeout(std::string_view value) noexcept;

/// `grpc-timeout` for what is left of a deadline, never more than that but for rounding up to 1 ns.
class GrpcTimeoutText {
 public:
  explicit GrpcTimeoutText(nanoseconds left) noexcept;
  GrpcTimeoutText() = default;
  [[nodiscard]] std::string_view view() const noexcept { return {text_.data(), size_}; }

 private:
  std::array<char, 12> text_{};
  std::size_t size_ = 0;
};

/// The status codes of gRPC that a gateway gives.
enum class GrpcStatus : std::uint8_t {
  kOk = 0,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kUnauthenticated = 16,
};

/// What a refusal with this status of HTTP is in gRPC.
[[nodiscard]] GrpcStatus grpc_status_for(unsigned status) noexcept;
/// "14". Static.
[[nodiscard]] std::string_view grpc_status_text(GrpcStatus status) noexcept;

/// The value of grpc-message: everything but printable ASCII, and '%', percent-encoded.
void append_grpc_message(std::string& out, std::string_view message);

/// Goes over a body and bounds each message in it, not the sum of them: a stream may last.
class GrpcMessages {
 public:
  void reset(std::uint64_t message_bytes_max) noexcept;
  /// The next bytes. Errors, client blame: kBodyTooLarge, kBadGrpcMessage (a prefix that is none).
  [[nodiscard]] Result<void> take(std::string_view data) noexcept;

 private:
  static constexpr std::size_t kPrefixBytes = 5;
  std::uint64_t bytes_max_ = 0;
  std::uint64_t left_ = 0;  ///< of the message
  std::size_t prefix_size_ = 0;
  std::array<unsigned char, kPrefixBytes> prefix_{};
};

}  // namespace merlon::http
