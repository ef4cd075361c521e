#include "http/grpc.h"

#include <algorithm>
#include <charconv>

#include "base/ascii.h"

namespace merlon::http {
namespace {

struct Unit {
  char letter;
  std::int64_t ns;
};
constexpr Unit kUnits[] = {{'n', 1},
                           {'u', 1'000},
                           {'m', 1'000'000},
                           {'S', 1'000'000'000},
                           {'M', 60'000'000'000},
                           {'H', 3'600'000'000'000}};
constexpr std::size_t kTimeoutDigitsMax = 8;
constexpr std::int64_t kTimeoutMost = 99'999'999;

}  // namespace

bool is_grpc(std::string_view content_type) noexcept {
  constexpr std::string_view kType = "application/grpc";
  if (content_type.size() < kType.size() ||
      !ascii::iequals(content_type.substr(0, kType.size()), kType))
    return false;
  const std::string_view rest = content_type.substr(kType.size());
  return rest.empty() || rest.front() == '+' || rest.front() == ';' || rest.front() == ' ';
}

bool is_grpc_service_name(std::string_view name) noexcept {
  constexpr ascii::CharSet kFirst = ascii::CharSet("_").add_range('a', 'z').add_range('A', 'Z');
  constexpr ascii::CharSet kOther =
      ascii::CharSet("_").add_range('a', 'z').add_range('A', 'Z').add_range('0', '9');
  for (;;) {
    const std::size_t dot = std::min(name.find('.'), name.size());
    const std::string_view part = name.substr(0, dot);
    if (part.empty() || !kFirst.contains_all(part.substr(0, 1)) || !kOther.contains_all(part))
      return false;
    if (dot == name.size()) return true;
    name.remove_prefix(dot + 1);
  }
}

Result<nanoseconds> parse_grpc_timeout(std::string_view value) noexcept {
  const auto bad = fail(code::kBadGrpcTimeout, Blame::kClient, "grpc-timeout is not a timeout");
  if (value.size() < 2 || value.size() > kTimeoutDigitsMax + 1) return bad;
  const auto* const unit = std::ranges::find(kUnits, value.back(), &Unit::letter);
  if (unit == std::end(kUnits)) return bad;
  std::int64_t count = 0;
  for (const char c : value.substr(0, value.size() - 1)) {
    if (!ascii::is_digit(c)) return bad;
    count = count * 10 + (c - '0');
  }
  // The largest, 99999999H, would not fit: as good as none.
  const std::int64_t most = nanoseconds::max().count() / 4 / unit->ns;
  return nanoseconds{std::min(count, most) * unit->ns};
}

GrpcTimeoutText::GrpcTimeoutText(nanoseconds left) noexcept {
  const std::int64_t ns = std::max<std::int64_t>(left.count(), 1);
  const auto* const unit = std::ranges::find_if(
      kUnits, [&](const Unit& candidate) { return ns / candidate.ns <= kTimeoutMost; });
  char* const end = std::to_chars(text_.data(), text_.data() + text_.size() - 1, ns / unit->ns).ptr;
  *end = unit->letter;
  size_ = static_cast<std::size_t>(end - text_.data()) + 1;
}

GrpcStatus grpc_status_for(unsigned status) noexcept {
  switch (status) {
    case 400:
    case 414:
    case 415:
    case 417:
    case 422:
      return GrpcStatus::kInvalidArgument;
    case 401:
      return GrpcStatus::kUnauthenticated;
    case 403:
      return GrpcStatus::kPermissionDenied;
    case 404:
    case 405:
    case 501:
      return GrpcStatus::kUnimplemented;
    case 408:
    case 504:
      return GrpcStatus::kDeadlineExceeded;
    case 413:
    case 429:
    case 431:
      return GrpcStatus::kResourceExhausted;
    case 500:
      return GrpcStatus::kInternal;
    case 502:
    case 503:
      return GrpcStatus::kUnavailable;
    default:
      return GrpcStatus::kUnknown;
  }
}

std::string_view grpc_status_text(GrpcStatus status) noexcept {
  static constexpr std::array<std::string_view, 17> kTexts = {
      "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"};
  return kTexts[static_cast<std::size_t>(status)];
}

void append_grpc_message(std::string& out, std::string_view message) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  for (const char c : message) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f && c != '%') {
      out += c;
    } else {
      out += '%';
      out += kHex[byte >> 4U];
      out += kHex[byte & 15U];
    }
  }
}

void GrpcMessages::reset(std::uint64_t message_bytes_max) noexcept {
  bytes_max_ = message_bytes_max;
  left_ = 0;
  prefix_size_ = 0;
}

Result<void> GrpcMessages::take(std::string_view data) noexcept {
  while (!data.empty()) {
    if (left_ > 0) {
      const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(left_, data.size()));
      left_ -= n;
      data.remove_prefix(n);
      continue;
    }
    prefix_[prefix_size_++] = static_cast<unsigned char>(data.front());
    data.remove_prefix(1);
    if (prefix_size_ < kPrefixBytes) continue;
    prefix_size_ = 0;
    if (prefix_[0] > 1)
      return fail(code::kBadGrpcMessage, Blame::kClient, "not the prefix of a gRPC message");
    for (std::size_t i = 1; i < kPrefixBytes; ++i) left_ = left_ << 8U | prefix_[i];
    if (left_ > bytes_max_)
      return fail(code::kBodyTooLarge, Blame::kClient, "a message is larger than the route takes");
  }
  return {};
}

}  // namespace merlon::http
