#include "http/h2_head.h"

#include <algorithm>

#include "base/ascii.h"
#include "http/field_bytes.h"
#include "http/h1_head_parser.h"
#include "http/request_rules.h"

namespace merlon::http {
namespace {

constexpr std::array<std::string_view, 6> kPseudoNames = {":method", ":scheme", ":authority",
                                                          ":path",   ":status", ":protocol"};

/// Field names of HTTP/2 are tokens in lower case (RFC 9113 §8.2.1).
constexpr ascii::CharSet kNameChars =
    ascii::CharSet("!#$%&'*+-.^_`|~").add_range('0', '9').add_range('a', 'z');

/// RFC 9113 §8.2.1: no control characters, no white space at the ends.
bool is_value(std::string_view value) noexcept {
  if (value.empty()) return true;
  return first_bad_value_byte(value) == value.size() && !ascii::is_ows(value.front()) &&
         !ascii::is_ows(value.back());
}

/// RFC 9113 §8.2.2: what speaks of an HTTP/1.1 connection.
bool is_connection_specific(FieldId id) noexcept {
  return id == FieldId::kConnection || id == FieldId::kProxyConnection ||
         id == FieldId::kKeepAlive || id == FieldId::kTransferEncoding || id == FieldId::kUpgrade ||
         id == FieldId::kHttp2Settings;
}

}  // namespace

std::string_view H2HeadText::keep(std::string_view bytes, std::size_t most) noexcept {
  const bool few = bytes.size() <= few_.size() - kept_;
  if (!few && many_ == nullptr) many_ = std::make_unique_for_overwrite<char[]>(most);
  char* const at = few ? few_.data() + kept_ : many_.get() + kept_large_;
  (few ? kept_ : kept_large_) += bytes.copy(at, bytes.size());
  return {at, bytes.size()};
}

std::span<char> H2HeadText::make_room(std::size_t bytes) {
  more_ = std::make_unique_for_overwrite<char[]>(bytes);
  return {more_.get(), bytes};
}

void H2HeadReader::begin(const Into& into, Block block) {
  fields_ = &into.fields;
  text_ = &into.text;
  limits_ = into.limits;
  block_ = block;
  into.fields.clear();
  into.text.clear();
  pseudo_ = {};
  error_ = {};
  malformed_ = regular_begun_ = has_length_ = false;
  cookies_ = 0;
  list_bytes_ = 0;
}

void H2HeadReader::fail_once(std::uint16_t code, const char* what, bool malformed) noexcept {
  // A malformed block stays one, even when it was too large before.
  if (error_.code != 0 && (malformed_ || !malformed)) return;
  error_ = Error{.code = code, .blame = blame_, .what = what};
  malformed_ = malformed;
}

Result<void> H2HeadReader::outcome() const noexcept {
  if (error_.code != 0) return std::unexpected(error_);
  return {};
}

void H2HeadReader::add(std::string_view name, std::string_view value) noexcept {
  list_bytes_ += name.size() + value.size() + kH2FieldOverheadBytes;
  if (list_bytes_ > limits_.head_bytes_max) {
    const bool path = name == ":path" && value.size() > limits_.target_bytes_max;
    fail_once(path ? code::kTargetTooLong : code::kHeadTooLarge, "header list is too large", false);
    return;
  }
  if (name.starts_with(':')) {
    add_pseudo(name, value);
  } else {
    add_regular(name, value);
  }
}

void H2HeadReader::add_pseudo(std::string_view name, std::string_view value) noexcept {
  const auto known = std::ranges::find(kPseudoNames, name);
  if (regular_begun_)
    return fail_once(code::kH2PseudoField, "pseudo-field after a regular field", true);
  if (known == kPseudoNames.end() || (name == ":protocol" && !extended_connect_))
    return fail_once(code::kH2PseudoField, "unknown pseudo-field", true);
  if (!is_value(value))
    return fail_once(code::kH2PseudoField, "pseudo-field has a forbidden character", true);
  const auto which = static_cast<std::size_t>(known - kPseudoNames.begin());
  if (pseudo_[which].data() != nullptr)
    return fail_once(code::kH2PseudoField, "pseudo-field came twice", true);
  if ((which == static_cast<std::size_t>(Pseudo::kStatus)) != (blame_ == Blame::kUpstream))
    return fail_once(code::kH2PseudoField, "pseudo-field of the other kind of message", true);
  pseudo_[which] = keep(value);
}

/// `known`: `name` is the one of `id`, which needs no look at its characters.
bool H2HeadReader::check_regular(std::string_view name, bool known, std::string_view value,
                                 FieldId id) noexcept {
  if (name.empty() || (!known && !kNameChars.contains_all(name))) {
    fail_once(code::kBadFieldName, "field name is not a token in lower case", true);
    return false;
  }
  if (!is_value(value)) {
    fail_once(code::kBadFieldValue, "field value has a forbidden character", true);
    return false;
  }
  if (is_connection_specific(id) || (id == FieldId::kTe && !ascii::iequals(value, "trailers"))) {
    fail_once(code::kH2ConnectionField, "field belongs to HTTP/1.1 connections", true);
    return false;
  }
  return true;
}

void H2HeadReader::add_regular(std::string_view name, std::string_view value) noexcept {
  regular_begun_ = true;
  const FieldId id = field_id(name);
  const std::string_view lower = lower_field_name(id);
  const bool known = name == lower;
  if (!check_regular(name, known, value, id)) return;
  if (block_ == Block::kTrailers && has_trait(id, FieldTrait::kNeverInTrailers)) {
    if (blame_ == Blame::kClient)
      fail_once(code::kBadTrailer, "field that must not come in a trailer", true);
    return;
  }
  if (fields_->size() >= limits_.fields_max || fields_->size() == Fields::kReceivedMax)
    return fail_once(code::kTooManyFields, "too many fields", false);
  const bool again = fields_->contains(id);
  const std::string_view kept_name = known ? lower : keep(name);
  fields_->add(kept_name, keep(value), id);
  if (id == FieldId::kCookie) ++cookies_;
  if (blame_ == Blame::kClient) {
    // A second content-length is malformed (RFC 9113 §8.1.1); other fields are merely refused.
    const Result<void> judged = judge_last_field(*fields_);
    if (!judged) fail_once(judged.error().code, judged.error().what, id == FieldId::kContentLength);
  } else if (again && has_trait(id, FieldTrait::kOnceInResponse)) {
    fail_once(code::kDuplicateField, "field that may come once came twice", true);
  }
}

/// RFC 9113 §8.2.3: crumbs are joined before anyone reads them as HTTP/1.1 would.
void H2HeadReader::join_cookies() noexcept {
  if (cookies_ < 2) return;
  constexpr std::string_view kBetween = "; ";
  std::size_t bytes = 0;
  for (const Field& field : *fields_) {
    if (field.id == FieldId::kCookie) bytes += field.value.size() + kBetween.size();
  }
  const std::span<char> room = text_->make_room(bytes);
  std::size_t joined = 0;
  for (const Field& field : *fields_) {
    if (field.id != FieldId::kCookie) continue;
    if (joined > 0) joined += kBetween.copy(room.data() + joined, kBetween.size());
    joined += field.value.copy(room.data() + joined, field.value.size());
  }
  fields_->drop(FieldId::kCookie);
  if (!fields_->add("cookie", {room.data(), joined}, FieldId::kCookie))
    fail_once(code::kTooManyFields, "too many fields", false);
}

/// RFC 9113 §8.1.1: what content-length says and what END_STREAM shows must agree.
void H2HeadReader::read_length(bool end_stream, Framing& framing, std::uint64_t& length) noexcept {
  const Field* size = fields_->find(FieldId::kContentLength);
  framing = end_stream ? Framing::kNone : Framing::kChunked;
  length = 0;
  has_length_ = size != nullptr;
  if (size == nullptr) return;
  const Result<std::uint64_t> parsed = parse_content_length(size->value);
  if (!parsed) return fail_once(parsed.error().code, parsed.error().what, true);
  framing = Framing::kLength;
  length = *parsed;
}

/// CONNECT is not served, but an extended one is read as the GET of a WebSocket handshake (RFC 8441
/// §4): one reading of methods, hosts and paths judges both.
void H2HeadReader::read_connect(RequestHead& out) noexcept {
  if (!has(Pseudo::kProtocol)) {
    const bool shape = has(Pseudo::kAuthority) && !has(Pseudo::kScheme) && !has(Pseudo::kPath);
    return fail_once(shape ? code::kConnectRefused : code::kH2PseudoField, "CONNECT is not served",
                     !shape);
  }
  if (out.method != Method::kConnect || !has(Pseudo::kAuthority))
    return fail_once(code::kH2PseudoField, ":protocol without CONNECT or :authority", true);
  if (pseudo(Pseudo::kProtocol) != "websocket")
    fail_once(code::kTunnelProtocol, "the protocol of a tunnel is not websocket", false);
  out.method = Method::kGet;
  out.method_text = "GET";
  out.only_websocket = true;
}

/// The handshake of RFC 8441 §5.1: that of RFC 6455 without a key.
void H2HeadReader::judge_handshake(bool end_stream, RequestHead& out) noexcept {
  out.framing = Framing::kNone;
  out.content_length = 0;
  out.wants_websocket =
      !end_stream && !has_length_ && fields_->value(FieldId::kSecWebSocketVersion) == "13";
}

/// RFC 9113 §8.3.1.
void H2HeadReader::read_request_pseudo(RequestHead& out) noexcept {
  if (!has(Pseudo::kMethod))
    return fail_once(code::kH2PseudoField, "request without :method", true);
  out.method_text = pseudo(Pseudo::kMethod);
  out.method = method_of(out.method_text);
  if (!ascii::is_token(out.method_text) || out.method_text.size() > kMethodBytesMax)
    return fail_once(code::kBadMethod, "method is not a token", true);
  if (out.method == Method::kConnect || has(Pseudo::kProtocol)) read_connect(out);
  if (out.method == Method::kConnect) return;
  if (!has(Pseudo::kScheme) || !has(Pseudo::kPath))
    return fail_once(code::kH2PseudoField, "request without :scheme or :path", true);
  const std::string_view scheme = pseudo(Pseudo::kScheme);
  if (scheme != "https" && scheme != "http")
    return fail_once(code::kBadTarget, "scheme is neither https nor http", true);
  const std::string_view path = pseudo(Pseudo::kPath);
  if (path.empty() || (path.front() != '/' && path != "*"))
    return fail_once(code::kBadTarget, "path does not begin with a slash", true);
  if (path.size() > limits_.target_bytes_max)
    return fail_once(code::kTargetTooLong, "request target is too long", false);
  const Result<void> target = parse_target(path, out.method, out.target);
  if (!target) return fail_once(target.error().code, target.error().what, true);
}

/// As in HTTP/1.1, two names for the host must agree; who reads the other one would see another.
void H2HeadReader::judge_host(RequestHead& out) noexcept {
  const Field* host = fields_->find(FieldId::kHost);
  const std::string_view named = host == nullptr ? std::string_view{} : host->value;
  out.authority = has(Pseudo::kAuthority) ? pseudo(Pseudo::kAuthority) : named;
  if (out.authority.empty()) {
    const bool given = has(Pseudo::kAuthority) || host != nullptr;
    return fail_once(given ? code::kBadHost : code::kMissingHost, "request names no host", false);
  }
  if (host != nullptr && !ascii::iequals(named, out.authority))
    return fail_once(code::kBadHost, "host and :authority differ", false);
  if (out.authority.find('@') != std::string_view::npos)
    return fail_once(code::kBadHost, ":authority has user information", true);
}

Result<void> H2HeadReader::finish_request(bool end_stream, RequestHead& out) noexcept {
  out.target = {};
  out.authority = {};
  out.method = Method::kOther;
  out.method_text = {};
  out.minor_version = 1;
  out.keep_alive = true;
  out.wants_websocket = out.only_websocket = false;
  out.upgrade = {};
  read_request_pseudo(out);
  if (out.method != Method::kConnect) judge_host(out);
  read_length(end_stream, out.framing, out.content_length);
  if (end_stream && out.content_length > 0)
    fail_once(code::kBodyTooShort, "content-length without a body", true);
  if (out.only_websocket) judge_handshake(end_stream, out);
  join_cookies();
  if (const Result<void> aliases = judge_aliases(*fields_); !aliases)
    fail_once(aliases.error().code, aliases.error().what, false);
  const Field* expect = fields_->find(FieldId::kExpect);
  out.expect_continue = expect != nullptr;
  if (expect != nullptr && !ascii::iequals(expect->value, "100-continue"))
    fail_once(code::kUnsupportedExpect, "expectation is not 100-continue", false);
  out.te_trailers = fields_->contains(FieldId::kTe);
  return outcome();
}

Result<void> H2HeadReader::finish_response(bool end_stream, Method asked,
                                           ResponseHead& out) noexcept {
  const std::string_view status = pseudo(Pseudo::kStatus);
  const bool well_formed = status.size() == 3 && status[0] >= '1' && status[0] <= '5' &&
                           ascii::is_digit(status[1]) && ascii::is_digit(status[2]);
  if (!well_formed) {
    fail_once(code::kH2PseudoField, "response without a status of 100 to 599", true);
    return outcome();
  }
  out.status = static_cast<std::uint16_t>((status[0] - '0') * 100 + (status[1] - '0') * 10 +
                                          (status[2] - '0'));
  out.reason = {};
  out.minor_version = 1;
  out.keep_alive = true;
  out.upgrade = {};
  read_length(end_stream, out.framing, out.content_length);
  out.has_content_length = has_length_;
  // RFC 9113 §8.6: there is no 101; §8.1: an interim response does not end the stream.
  if (out.status == 101 || (out.is_interim() && end_stream))
    fail_once(code::kUpstreamBadResponse, "interim response that cannot be", true);
  const bool bodiless = asked == Method::kHead || out.status == 304 || out.status == 204;
  if (bodiless) {
    out.framing = Framing::kNone;
  } else if (end_stream && out.content_length > 0) {
    fail_once(code::kUpstreamTruncated, "content-length without a body", true);
  }
  return outcome();
}

Result<void> H2HeadReader::finish_trailers() noexcept {
  for (const std::string_view& value : pseudo_) {
    if (value.data() != nullptr) fail_once(code::kH2PseudoField, "pseudo-field in a trailer", true);
  }
  return outcome();
}

}  // namespace merlon::http
