#include "http/h1_request_parser.h"

#include <algorithm>

#include "base/ascii.h"
#include "http/request_rules.h"
#include "http/websocket.h"

namespace merlon::http {
namespace {

constexpr std::size_t kVersionBytes = 8;  // "HTTP/1.1"

/// RFC 6455 §4.2.1. Whoever asks for less is served as if it had not asked: no tunnel opens.
bool is_websocket_handshake(const RequestHead& head) noexcept {
  return head.method == Method::kGet && head.framing == Framing::kNone &&
         ascii::iequals(head.upgrade, "websocket") &&
         head.fields.value(FieldId::kSecWebSocketVersion) == "13" &&
         is_websocket_key(head.fields.value(FieldId::kSecWebSocketKey));
}

}  // namespace

RequestParser::RequestParser(const HeadLimits& limits) noexcept
    : HeadParser(limits, Blame::kClient) {}

void RequestParser::reset() noexcept {
  restart();
  start_ = 0;
  Fields& fields = head_.fields;
  fields.clear();
  head_.method = Method::kOther;
  head_.method_text = {};
  head_.target = {};
  head_.authority = {};
  head_.minor_version = 1;
  head_.framing = Framing::kNone;
  head_.content_length = 0;
  head_.keep_alive = true;
  head_.expect_continue = head_.te_trailers = head_.wants_websocket = false;
  head_.upgrade = {};
}

Result<std::size_t> RequestParser::parse(std::string_view data) noexcept {
  if (auto ok = skip_empty_line(data); !ok) return std::unexpected(ok.error());
  Line line;
  while (true) {
    const Result<bool> whole = next_line(data, line);
    if (!whole) return std::unexpected(whole.error());
    if (!*whole) break;
    if (too_long(scanned_)) {
      return bad(in_fields_ ? code::kHeadTooLarge : code::kTargetTooLong, "head is too long",
                 scanned_);
    }
    if (in_fields_ && line.text.empty()) {
      if (auto ok = finish(line.offset); !ok) return std::unexpected(ok.error());
      return scanned_;
    }
    const Result<void> ok = in_fields_ ? read_field(line) : parse_request_line(line);
    if (!ok) return std::unexpected(ok.error());
    in_fields_ = true;
  }
  if (auto ok = check_unfinished(data); !ok) return std::unexpected(ok.error());
  if (auto ok = check_start_length(data); !ok) return std::unexpected(ok.error());
  if (data.size() >= limits_.head_bytes_max) {
    return bad(in_fields_ ? code::kHeadTooLarge : code::kTargetTooLong, "head is too long",
               data.size());
  }
  return std::size_t{0};
}

Result<void> RequestParser::skip_empty_line(std::string_view data) noexcept {
  if (start_ != 0 || line_start_ != 0 || data.size() < 2 || data[0] != '\r') return {};
  if (data[1] != '\n') return bad(code::kBareLineEnd, "CR without LF", 0);
  start_ = line_start_ = scanned_ = 2;
  return {};
}

Result<void> RequestParser::check_start_length(std::string_view data) const noexcept {
  if (in_fields_) return {};
  const std::size_t bytes = data.size() - line_start_;
  const std::string_view method = data.substr(line_start_, kMethodBytesMax + 1);
  if (bytes > kMethodBytesMax && method.find(' ') == std::string_view::npos) {
    return bad(code::kBadMethod, "method is too long", line_start_);
  }
  if (bytes > kMethodBytesMax + limits_.target_bytes_max + kVersionBytes + 4) {
    return bad(code::kTargetTooLong, "request target is too long", data.size());
  }
  return {};
}

Result<void> RequestParser::parse_request_line(const Line& line) noexcept {
  const std::string_view text = line.text;
  const std::size_t method_end = std::min(text.find(' '), text.size());
  head_.method_text = text.substr(0, method_end);
  if (!ascii::is_token(head_.method_text)) {
    return bad(code::kBadRequestLine, "method is not a token", line.offset);
  }
  if (method_end > kMethodBytesMax) return bad(code::kBadMethod, "method is too long", line.offset);
  if (method_end == text.size()) {
    return bad(code::kBadRequestLine, "request line is not method, target, version", line.offset);
  }
  const std::size_t target_start = method_end + 1;
  const std::size_t target_end = text.find(' ', target_start);
  if (target_end == std::string_view::npos) {
    return bad(code::kBadRequestLine, "request line has no version", line.offset + text.size());
  }
  const std::string_view target = text.substr(target_start, target_end - target_start);
  if (auto ok = parse_version(text.substr(target_end + 1), line.offset + target_end + 1); !ok) {
    return ok;
  }
  head_.method = method_of(head_.method_text);
  if (head_.method == Method::kConnect) {
    return bad(code::kConnectRefused, "CONNECT is not served", line.offset);
  }
  if (target.size() > limits_.target_bytes_max) {
    return bad(code::kTargetTooLong, "request target is too long", line.offset + target_start);
  }
  const Result<void> parsed = parse_target(target, head_.method, head_.target);
  return parsed ? parsed : at(parsed.error(), line.offset + target_start);
}

Result<void> RequestParser::parse_version(std::string_view version, std::size_t offset) noexcept {
  const bool well_formed = version.size() == kVersionBytes && version.starts_with("HTTP/") &&
                           ascii::is_digit(version[5]) && version[6] == '.' &&
                           ascii::is_digit(version[7]);
  if (!well_formed) return bad(code::kBadVersion, "version is malformed", offset);
  if (version[5] != '1' || version[7] > '1') {
    return bad(code::kUnsupportedVersion, "version is neither HTTP/1.1 nor HTTP/1.0", offset);
  }
  head_.minor_version = static_cast<std::uint8_t>(version[7] - '0');
  return {};
}

Result<void> RequestParser::at(const Error& error, std::size_t offset) const noexcept {
  return bad(error.code, error.what, offset + error.offset_bytes);
}

Result<void> RequestParser::read_field(const Line& line) noexcept {
  if (auto ok = add_field(line, head_.fields); !ok) return ok;
  const Result<void> judged = judge_last_field(head_.fields);
  return judged ? judged : at(judged.error(), line.offset);
}

Result<void> RequestParser::judge_host(std::size_t offset) noexcept {
  const Field* host = head_.fields.find(FieldId::kHost);
  if (host == nullptr && head_.minor_version >= 1) {
    return bad(code::kMissingHost, "HTTP/1.1 request without Host", offset);
  }
  const std::string_view named = host == nullptr ? std::string_view{} : host->value;
  head_.authority = head_.target.authority.empty() ? named : head_.target.authority;
  // RFC 9112 §3.2.2 lets the target win; who reads the other one would see another host.
  if (host != nullptr && !ascii::iequals(named, head_.authority)) {
    return bad(code::kBadHost, "Host and request target differ", offset);
  }
  if (host != nullptr && named.empty()) return bad(code::kBadHost, "Host is empty", offset);
  return {};
}

Result<void> RequestParser::judge_options(std::size_t offset) noexcept {
  const bool modern = head_.minor_version >= 1;
  const Result<ConnectionOptions> options = read_connection(head_.fields);
  if (!options) return std::unexpected(options.error());
  head_.keep_alive = !options->close && (modern || options->keep_alive);
  if (const Field* expect = head_.fields.find(FieldId::kExpect); expect != nullptr) {
    if (!ascii::iequals(expect->value, "100-continue")) {
      return bad(code::kUnsupportedExpect, "expectation is not 100-continue", offset);
    }
    head_.expect_continue = modern;  // RFC 9110 §10.1.1: ignored from HTTP/1.0
  }
  head_.te_trailers = accepts_trailers(head_.fields);
  if (options->upgrade && modern) head_.upgrade = head_.fields.value(FieldId::kUpgrade);
  head_.wants_websocket = is_websocket_handshake(head_);
  return {};
}

Result<void> RequestParser::finish(std::size_t offset) noexcept {
  if (auto ok = judge_host(offset); !ok) return ok;
  if (auto ok =
          read_framing(head_.fields, head_.minor_version, head_.framing, head_.content_length);
      !ok) {
    return ok;
  }
  if (auto ok = judge_aliases(head_.fields); !ok) return at(ok.error(), offset);
  return judge_options(offset);
}

}  // namespace merlon::http
