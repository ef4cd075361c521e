#pragma once

#include <array>

#include "http/ip_text.h"
#include "http/message.h"
#include "policy/reading.h"
#include "telemetry/access_log.h"

/// Parts of a line of the access log.
namespace merlon::gateway {

/// Fills what a line says of the connection and of `client`, the address behind it. The record
/// points into this object.
class ConnectionText {
 public:
  ConnectionText(const policy::ConnectionFacts& facts, const IpAddress& client,
                 telemetry::AccessRecord& record) noexcept;
  ConnectionText(const ConnectionText&) = delete;
  ConnectionText& operator=(const ConnectionText&) = delete;

 private:
  http::IpText client_;
  std::array<char, 64> peer_;
};

/// Method and path as they were written, cut, without the query: of a request that was refused
/// before it had one reading. The log escapes them.
void note_raw_target(const http::RequestHead& head, telemetry::AccessRecord& record) noexcept;

}  // namespace merlon::gateway
