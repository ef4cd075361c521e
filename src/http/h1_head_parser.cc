#include "http/h1_head_parser.h"

#include <algorithm>
#include <cstring>

#include "base/ascii.h"
#include "http/field_bytes.h"

namespace merlon::http {
namespace {

/// Connection options in one head. Each costs a search of the fields, so their number is bounded.
constexpr std::size_t kConnectionOptionsMax = 32;

/// True for a list of known codings that ends in the only chunked: correct, but not for us (501).
/// Everything else is an attempt to be read in two ways (400).
bool is_known_coding_list(std::string_view value) noexcept {
  constexpr std::string_view kCodings[] = {"gzip", "x-gzip", "deflate", "compress", "x-compress"};
  const std::size_t comma = value.rfind(',');
  if (comma == std::string_view::npos) return false;
  if (!ascii::iequals(ascii::trim_ows(value.substr(comma + 1)), "chunked")) return false;
  std::string_view rest = value.substr(0, comma);
  while (true) {
    const std::size_t end = std::min(rest.find(','), rest.size());
    const std::string_view coding = ascii::trim_ows(rest.substr(0, end));
    const bool known = std::ranges::any_of(
        kCodings, [&](std::string_view name) { return ascii::iequals(coding, name); });
    if (!known) return false;
    if (end == rest.size()) return true;
    rest.remove_prefix(end + 1);
  }
}

}  // namespace

Result<std::uint64_t> parse_content_length(std::string_view value) noexcept {
  if (value.empty()) {
    return fail(code::kBadContentLength, Blame::kClient, "content-length is empty");
  }
  std::uint64_t length = 0;
  for (const char c : value) {
    if (!ascii::is_digit(c)) {
      return fail(code::kBadContentLength, Blame::kClient, "content-length has a non-digit");
    }
    const auto digit = static_cast<unsigned>(c - '0');
    if (length > (UINT64_MAX - digit) / 10) {
      return fail(code::kBadContentLength, Blame::kClient, "content-length overflows");
    }
    length = length * 10 + digit;
  }
  return length;
}

HeadParser::HeadParser(const HeadLimits& limits, Blame blame) noexcept
    : limits_(limits), blame_(blame) {
  limits_.fields_max =
      std::min(limits_.fields_max, static_cast<std::uint32_t>(Fields::kReceivedMax));
}

void HeadParser::restart() noexcept {
  in_fields_ = false;
  after_name_ = false;
  line_start_ = 0;
  scanned_ = 0;
  base_ = nullptr;
}

std::unexpected<Error> HeadParser::bad(std::uint16_t code, const char* what,
                                       std::size_t offset) const noexcept {
  return fail(code, blame_, what, static_cast<std::uint32_t>(offset));
}

std::size_t HeadParser::offset_of(std::string_view part) const noexcept {
  return static_cast<std::size_t>(part.data() - base_);
}

Result<bool> HeadParser::next_line(std::string_view data, Line& line) noexcept {
  base_ = data.data();
  if (scanned_ >= data.size()) return false;
  const void* found = std::memchr(data.data() + scanned_, '\n', data.size() - scanned_);
  if (found == nullptr) return false;
  const auto lf = static_cast<std::size_t>(static_cast<const char*>(found) - data.data());
  if (lf == line_start_ || data[lf - 1] != '\r') {
    return bad(code::kBareLineEnd, "line ends in LF without CR", lf);
  }
  line = {.text = data.substr(line_start_, lf - 1 - line_start_), .offset = line_start_};
  line_start_ = scanned_ = lf + 1;
  after_name_ = false;
  return true;
}

Result<void> HeadParser::check_unfinished(std::string_view data) noexcept {
  if (scanned_ > line_start_ && scanned_ < data.size() && data[scanned_ - 1] == '\r') {
    return bad(code::kBareLineEnd, "CR without LF", scanned_ - 1);
  }
  for (; scanned_ < data.size(); ++scanned_) {
    const char c = data[scanned_];
    if (c == '\r') {
      if (scanned_ + 1 < data.size()) return bad(code::kBareLineEnd, "CR without LF", scanned_);
      // In a field line it may end the head, but only as its first byte.
      if (in_fields_ && !after_name_ && scanned_ != line_start_) {
        return bad(code::kBadFieldName, "field line without a colon", scanned_);
      }
      continue;
    }
    if (after_name_) {
      if (is_value_byte(c)) continue;
      return bad(in_fields_ ? code::kBadFieldValue : code::kBadRequestLine, "control character",
                 scanned_);
    }
    after_name_ = c == (in_fields_ ? ':' : ' ') && scanned_ != line_start_;
    if (after_name_ || ascii::kTokenChars.contains(c)) continue;
    if (!in_fields_) return bad(code::kBadRequestLine, "start line has no token first", scanned_);
    const bool fold = scanned_ == line_start_ && (c == ' ' || c == '\t');
    return bad(fold ? code::kObsFold : code::kBadFieldName,
               fold ? "line begins with white space" : "field name is not a token", scanned_);
  }
  return {};
}

Result<std::size_t> HeadParser::name_size(const Line& line) const noexcept {
  const std::string_view text = line.text;
  std::size_t colon = 0;
  while (colon < text.size() && ascii::kTokenChars.contains(text[colon])) ++colon;
  if (colon == text.size()) {
    return bad(code::kBadFieldName, "field line without a colon", line.offset);
  }
  if (text[colon] != ':' || colon == 0) {
    if (colon == 0 && (text[0] == ' ' || text[0] == '\t')) {
      return bad(code::kObsFold, "line begins with white space", line.offset);
    }
    return bad(code::kBadFieldName, "field name is not a token", line.offset + colon);
  }
  return colon;
}

Result<void> HeadParser::add_field(const Line& line, Fields& fields) noexcept {
  const std::string_view text = line.text;
  std::size_t colon = text.find(':');
  FieldId id = FieldId::kOther;
  if (colon != std::string_view::npos) id = single_field_id(text.substr(0, colon));
  // Names that are known need no look at their bytes.
  if (id == FieldId::kOther) {
    const Result<std::size_t> size = name_size(line);
    if (!size) return std::unexpected(size.error());
    colon = *size;
    id = field_family(text.substr(0, colon));
  }
  const std::string_view after = text.substr(colon + 1);
  const std::size_t wrong = first_bad_value_byte(after);
  if (wrong != after.size()) {
    const bool cr = after[wrong] == '\r';
    return bad(cr ? code::kBareLineEnd : code::kBadFieldValue,
               cr ? "CR without LF" : "control character in a field value",
               line.offset + colon + 1 + wrong);
  }
  if (fields.size() >= limits_.fields_max ||
      !fields.add(text.substr(0, colon), ascii::trim_ows(after), id)) {
    return bad(code::kTooManyFields, "too many field lines", line.offset);
  }
  return {};
}

Result<void> HeadParser::judge_nominated(std::string_view token, Fields& fields) const noexcept {
  const FieldId id = field_id(token);
  if (has_trait(id, FieldTrait::kNeverNominated) || aliased_field(token) != FieldId::kOther) {
    return bad(code::kBadConnection, "connection nominates a field that must stay",
               offset_of(token));
  }
  if (!has_trait(id, FieldTrait::kHopByHop)) fields.drop(token);
  return {};
}

Result<HeadParser::ConnectionOptions> HeadParser::read_connection(Fields& fields) const noexcept {
  ConnectionOptions options;
  std::size_t count = 0;
  for (const Field& field : fields) {
    if (field.id != FieldId::kConnection) continue;
    std::string_view rest = field.value;
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find(','), rest.size());
      const std::string_view token = ascii::trim_ows(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
      if (++count > kConnectionOptionsMax) {
        return bad(code::kBadConnection, "too many connection options", offset_of(rest));
      }
      if (token.empty()) continue;  // RFC 9110 §5.6.1.2: empty elements count for nothing
      if (!ascii::is_token(token)) {
        return bad(code::kBadConnection, "connection option is not a token", offset_of(token));
      }
      if (ascii::iequals(token, "close")) {
        options.close = true;
      } else if (ascii::iequals(token, "keep-alive")) {
        options.keep_alive = true;
      } else if (ascii::iequals(token, "upgrade")) {
        options.upgrade = true;
      } else if (auto judged = judge_nominated(token, fields); !judged) {
        return std::unexpected(judged.error());
      }
    }
  }
  return options;
}

Result<void> HeadParser::read_framing(const Fields& fields, std::uint8_t minor_version,
                                      Framing& framing, std::uint64_t& length) const noexcept {
  const Field* encoding = fields.find(FieldId::kTransferEncoding);
  const Field* size = fields.find(FieldId::kContentLength);
  if (encoding != nullptr && size != nullptr) {
    return bad(code::kLengthAndEncoding, "content-length and transfer-encoding together",
               offset_of(encoding->name));
  }
  if (encoding != nullptr) {
    const std::size_t at = offset_of(encoding->name);
    if (minor_version == 0) {
      return bad(code::kBadTransferEncoding, "transfer-encoding in HTTP/1.0", at);
    }
    if (!ascii::iequals(encoding->value, "chunked")) {
      return is_known_coding_list(encoding->value)
                 ? bad(code::kUnsupportedCoding, "transfer coding is not supported", at)
                 : bad(code::kBadTransferEncoding, "transfer-encoding is not just chunked", at);
    }
    framing = Framing::kChunked;
    return {};
  }
  if (size == nullptr) return {};
  const Result<std::uint64_t> parsed = parse_content_length(size->value);
  if (!parsed) return bad(parsed.error().code, parsed.error().what, offset_of(size->name));
  framing = Framing::kLength;
  length = *parsed;
  return {};
}

}  // namespace merlon::http
