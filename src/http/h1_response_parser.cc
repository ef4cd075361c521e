#include "http/h1_response_parser.h"

#include "base/ascii.h"
#include "http/field_bytes.h"

namespace merlon::http {
namespace {
constexpr std::string_view kVersionStart = "HTTP/1.";
}  // namespace

ResponseParser::ResponseParser(const ResponseContext& context, const HeadLimits& limits) noexcept
    : HeadParser(limits, Blame::kUpstream), context_(context) {}

void ResponseParser::reset(const ResponseContext& context) noexcept {
  restart();
  context_ = context;
  head_.fields.clear();
  head_.status = 0;
  head_.reason = {};
  head_.minor_version = 1;
  head_.framing = Framing::kNone;
  head_.content_length = 0;
  head_.has_content_length = false;
  head_.keep_alive = true;
  head_.upgrade = {};
}

Result<std::size_t> ResponseParser::parse(std::string_view data) noexcept {
  const std::string_view start = data.substr(0, kVersionStart.size());
  if (!in_fields_ && start != kVersionStart.substr(0, start.size())) {
    return bad(code::kBadStatusLine, "response does not begin with HTTP/1", 0);
  }
  Line line;
  while (true) {
    const Result<bool> whole = next_line(data, line);
    if (!whole) return std::unexpected(whole.error());
    if (!*whole) break;
    if (too_long(scanned_)) return bad(code::kHeadTooLarge, "head is too long", scanned_);
    if (in_fields_ && line.text.empty()) {
      if (auto ok = finish(line.offset); !ok) return std::unexpected(ok.error());
      return scanned_;
    }
    const Result<void> ok = in_fields_ ? judge_last_field(line) : parse_status_line(line);
    if (!ok) return std::unexpected(ok.error());
    in_fields_ = true;
  }
  // The status line is short and begins with no token: it is judged when whole.
  if (in_fields_) {
    if (auto ok = check_unfinished(data); !ok) return std::unexpected(ok.error());
  }
  if (data.size() >= limits_.head_bytes_max) {
    return bad(code::kHeadTooLarge, "head is too long", data.size());
  }
  scanned_ = data.size();
  return std::size_t{0};
}

Result<void> ResponseParser::parse_status_line(const Line& line) noexcept {
  const std::string_view text = line.text;
  const bool well_formed = text.size() >= 12 && text.starts_with(kVersionStart) &&
                           (text[7] == '0' || text[7] == '1') && text[8] == ' ' &&
                           ascii::is_digit(text[9]) && ascii::is_digit(text[10]) &&
                           ascii::is_digit(text[11]) && (text.size() == 12 || text[12] == ' ');
  if (!well_formed) {
    return bad(code::kBadStatusLine, "status line is not version, status, reason", line.offset);
  }
  const int status = (text[9] - '0') * 100 + (text[10] - '0') * 10 + (text[11] - '0');
  if (status < 100 || status > 599) {
    return bad(code::kBadStatusLine, "status is not 100 to 599", line.offset + 9);
  }
  head_.status = static_cast<std::uint16_t>(status);
  head_.minor_version = static_cast<std::uint8_t>(text[7] - '0');
  head_.reason = text.size() > 13 ? text.substr(13) : std::string_view{};
  if (const std::size_t wrong = first_bad_value_byte(head_.reason); wrong != head_.reason.size()) {
    return bad(code::kBadStatusLine, "control character in the reason", line.offset + 13 + wrong);
  }
  return {};
}

Result<void> ResponseParser::judge_last_field(const Line& line) noexcept {
  if (auto ok = add_field(line, head_.fields); !ok) return ok;
  const Field& field = head_.fields[head_.fields.size() - 1];
  if (has_trait(field.id, FieldTrait::kOnceInResponse) && head_.fields.count(field.id) > 1) {
    return bad(code::kDuplicateField, "field that may come once came twice", line.offset);
  }
  return {};
}

/// RFC 9112 §6.3, and §6.1 for what a response may not have.
Result<void> ResponseParser::judge_framing(std::size_t offset) noexcept {
  Framing sent = Framing::kNone;
  if (auto ok = read_framing(head_.fields, head_.minor_version, sent, head_.content_length); !ok) {
    return ok;
  }
  head_.has_content_length = sent == Framing::kLength;
  if (head_.status < 200 || head_.status == 204) {
    // `Content-Length: 0` on 204 is common and harmless: every reading of it is an empty body.
    const bool harmless =
        head_.status == 204 && head_.has_content_length && head_.content_length == 0;
    if (sent != Framing::kNone && !harmless) {
      return bad(code::kUpstreamBadResponse, "framing on a response without body", offset);
    }
    return {};
  }
  if (context_.method == Method::kHead || head_.status == 304) return {};
  head_.framing = sent == Framing::kNone ? Framing::kUntilClose : sent;
  return {};
}

Result<void> ResponseParser::judge_upgrade(bool upgrade_option, std::size_t offset) noexcept {
  if (head_.status != 101) return {};
  head_.upgrade = upgrade_option ? head_.fields.value(FieldId::kUpgrade) : std::string_view{};
  if (!context_.upgrade_asked || head_.upgrade.empty() || head_.minor_version == 0) {
    return bad(code::kUpstreamBadResponse, "101 that was not asked for, or names no protocol",
               offset);
  }
  return {};
}

Result<void> ResponseParser::finish(std::size_t offset) noexcept {
  if (auto ok = judge_framing(offset); !ok) return ok;
  const Result<ConnectionOptions> options = read_connection(head_.fields);
  if (!options) return std::unexpected(options.error());
  const bool persists = head_.minor_version >= 1 || options->keep_alive;
  head_.keep_alive = persists && !options->close && head_.framing != Framing::kUntilClose;
  return judge_upgrade(options->upgrade, offset);
}

}  // namespace merlon::http
