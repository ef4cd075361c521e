#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "telemetry/request_id.h"

/// W3C Trace Context (https://www.w3.org/TR/trace-context/), version 00.
namespace merlon::telemetry {

/// What one `traceparent` says. Identifiers are lower-case hexadecimal and not all zero.
struct TraceContext {
  std::array<char, 32> trace_id{};
  std::array<char, 16> span_id{};
  bool sampled = false;

  [[nodiscard]] std::string_view trace_id_text() const noexcept {
    return {trace_id.data(), trace_id.size()};
  }
  bool operator==(const TraceContext&) const = default;
};

/// The value of a `traceparent` field, held inline.
struct TraceparentText {
  std::array<char, 55> text{};
  [[nodiscard]] std::string_view view() const noexcept { return {text.data(), text.size()}; }
};

/// Reads version 00 and nothing else: 55 bytes, lower case, no identifier of zeros. Flags that the
/// version does not define are dropped. nullopt: start a new trace and drop `tracestate` (§4.3).
[[nodiscard]] std::optional<TraceContext> parse_traceparent(std::string_view value) noexcept;

/// The same trace, with a span id of our own.
[[nodiscard]] TraceContext child_of(const TraceContext& parent, IdGenerator& ids) noexcept;

/// A new trace with the id of the request that begins it, so that logs here and traces behind us
/// are found by one id. `sampled` is what services behind us commonly follow: false keeps them from
/// recording the trace.
[[nodiscard]] TraceContext new_trace(const RequestId& request, IdGenerator& ids,
                                     bool sampled) noexcept;

[[nodiscard]] TraceparentText format_traceparent(const TraceContext& context) noexcept;

}  // namespace merlon::telemetry
