#include "telemetry/traceparent.h"

#include <algorithm>
#include <bit>

#include "base/ascii.h"

namespace merlon::telemetry {
namespace {

// version "-" trace-id "-" parent-id "-" trace-flags (§3.2)
constexpr std::size_t kTraceAt = 3;
constexpr std::size_t kSpanAt = 36;
constexpr std::size_t kFlagsAt = 53;
constexpr std::size_t kSize = 55;
constexpr unsigned kSampled = 1;

bool is_lower_hex(std::string_view text) noexcept {
  return std::ranges::all_of(text,
                             [](char c) { return ascii::is_digit(c) || (c >= 'a' && c <= 'f'); });
}

bool is_id(std::string_view text) noexcept {
  return is_lower_hex(text) && text.find_first_not_of('0') != std::string_view::npos;
}

std::array<char, 16> new_span_id(IdGenerator& ids) noexcept {
  std::uint64_t value = ids.next_u64();
  if (value == 0) value = 1;  // zeros mean "none"
  const auto bytes = std::bit_cast<std::array<std::uint8_t, 8>>(value);
  std::array<char, 16> text{};
  write_hex(text.data(), bytes.data(), bytes.size());
  return text;
}

}  // namespace

std::optional<TraceContext> parse_traceparent(std::string_view value) noexcept {
  if (value.size() != kSize || !value.starts_with("00-")) return std::nullopt;
  if (value[kSpanAt - 1] != '-' || value[kFlagsAt - 1] != '-') return std::nullopt;
  const std::string_view trace = value.substr(kTraceAt, 32);
  const std::string_view span = value.substr(kSpanAt, 16);
  const std::string_view flags = value.substr(kFlagsAt);
  if (!is_id(trace) || !is_id(span) || !is_lower_hex(flags)) return std::nullopt;
  TraceContext context;
  std::ranges::copy(trace, context.trace_id.begin());
  std::ranges::copy(span, context.span_id.begin());
  context.sampled = (static_cast<unsigned>(ascii::hex_value(flags[1])) & kSampled) != 0;
  return context;
}

TraceContext child_of(const TraceContext& parent, IdGenerator& ids) noexcept {
  TraceContext child = parent;
  child.span_id = new_span_id(ids);
  return child;
}

TraceContext new_trace(const RequestId& request, IdGenerator& ids, bool sampled) noexcept {
  TraceContext context;
  context.trace_id = request.hex;
  constexpr std::string_view kNone = "00000000000000000000000000000000";
  if (context.trace_id_text() == kNone) context.trace_id.back() = '1';
  context.span_id = new_span_id(ids);
  context.sampled = sampled;
  return context;
}

TraceparentText format_traceparent(const TraceContext& context) noexcept {
  TraceparentText out;
  std::ranges::copy(std::string_view("00-"), out.text.begin());
  std::ranges::copy(context.trace_id, out.text.begin() + kTraceAt);
  out.text[kSpanAt - 1] = '-';
  std::ranges::copy(context.span_id, out.text.begin() + kSpanAt);
  out.text[kFlagsAt - 1] = '-';
  out.text[kFlagsAt] = '0';
  out.text[kFlagsAt + 1] = context.sampled ? '1' : '0';
  return out;
}

}  // namespace merlon::telemetry
