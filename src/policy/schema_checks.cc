#include "policy/schema_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/ascii.h"
#include "base/ip.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace merlon::policy {
namespace {

constexpr std::uint32_t kHeapKibMax = 256;
// Callouts count the work: PCRE2's own match limit begins anew at each place of the text.
constexpr std::uint32_t kOptions = PCRE2_UTF | PCRE2_ALT_BSUX | PCRE2_DOLLAR_ENDONLY |
                                   PCRE2_NEVER_BACKSLASH_C | PCRE2_AUTO_CALLOUT;

bool digits(std::string_view text, std::size_t at, std::size_t count, unsigned& value) noexcept {
  if (text.size() < at + count) return false;
  value = 0;
  for (std::size_t i = at; i < at + count; ++i) {
    if (!ascii::is_digit(text[i])) return false;
    value = value * 10 + static_cast<unsigned>(text[i] - '0');
  }
  return true;
}

bool is_date(std::string_view text) noexcept {
  unsigned year = 0;
  unsigned month = 0;
  unsigned day = 0;
  if (text.size() != 10 || text[4] != '-' || text[7] != '-' || !digits(text, 0, 4, year) ||
      !digits(text, 5, 2, month) || !digits(text, 8, 2, day))
    return false;
  return std::chrono::year_month_day(std::chrono::year(static_cast<int>(year)),
                                     std::chrono::month(month), std::chrono::day(day))
      .ok();
}

bool is_offset(std::string_view text) noexcept {
  if (text == "Z" || text == "z") return true;
  unsigned hour = 0;
  unsigned minute = 0;
  return text.size() == 6 && (text[0] == '+' || text[0] == '-') && text[3] == ':' &&
         digits(text, 1, 2, hour) && digits(text, 4, 2, minute) && hour < 24 && minute < 60;
}

/// RFC 3339 `full-time`.
bool is_time(std::string_view text) noexcept {
  unsigned hour = 0;
  unsigned minute = 0;
  unsigned second = 0;
  if (text.size() < 9 || text[2] != ':' || text[5] != ':' || !digits(text, 0, 2, hour) ||
      !digits(text, 3, 2, minute) || !digits(text, 6, 2, second) || hour > 23 || minute > 59 ||
      second > 60)
    return false;
  std::size_t at = 8;
  if (text[at] == '.') {
    const std::size_t begin = ++at;
    while (at < text.size() && ascii::is_digit(text[at])) ++at;
    if (at == begin) return false;
  }
  return is_offset(text.substr(at));
}

bool is_date_time(std::string_view text) noexcept {
  return text.size() > 11 && is_date(text.substr(0, 10)) && ascii::lower(text[10]) == 't' &&
         is_time(text.substr(11));
}

/// By its notation: `::ffff:192.0.2.1` is one of IPv6, whatever address it means.
bool is_address(std::string_view text, bool v6) noexcept {
  return text.contains(':') == v6 && IpAddress::parse(text).has_value();
}

bool is_uuid(std::string_view text) noexcept {
  if (text.size() != 36) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : ascii::hex_value(text[i]) < 0) return false;
  }
  return true;
}

/// A local part and a domain of atoms: what mail systems take, without quoting and comments.
bool is_email(std::string_view text) noexcept {
  const std::size_t at = text.rfind('@');
  if (at == std::string_view::npos || at == 0 || at > 64 || text.size() > 254) return false;
  const std::string_view local = text.substr(0, at);
  const std::string_view domain = text.substr(at + 1);
  static constexpr auto kAtom = ascii::CharSet("!#$%&'*+-/=?^_`{|}~.")
                                    .add_range('a', 'z')
                                    .add_range('A', 'Z')
                                    .add_range('0', '9');
  static constexpr auto kLabel =
      ascii::CharSet("-.").add_range('a', 'z').add_range('A', 'Z').add_range('0', '9');
  const auto dotted = [](std::string_view part) {
    return !part.empty() && part.front() != '.' && part.back() != '.' &&
           part.find("..") == std::string_view::npos;
  };
  return dotted(local) && dotted(domain) && kAtom.contains_all(local) &&
         kLabel.contains_all(domain);
}

/// RFC 3986 §3 with a scheme, by its characters.
bool is_uri(std::string_view text) noexcept {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || colon == 0 || !ascii::is_alpha(text[0])) return false;
  static constexpr auto kScheme =
      ascii::CharSet("+-.").add_range('a', 'z').add_range('A', 'Z').add_range('0', '9');
  static constexpr auto kRest = ascii::CharSet("-._~:/?#[]@!$&'()*+,;=%")
                                    .add_range('a', 'z')
                                    .add_range('A', 'Z')
                                    .add_range('0', '9');
  return kScheme.contains_all(text.substr(0, colon)) && kRest.contains_all(text.substr(colon + 1));
}

struct Format {
  std::string_view name;
  bool (*has)(std::string_view);
};
constexpr Format kFormats[] = {
    {"date", [](std::string_view t) { return is_date(t); }},
    {"time", [](std::string_view t) { return is_time(t); }},
    {"date-time", [](std::string_view t) { return is_date_time(t); }},
    {"ipv4", [](std::string_view t) { return is_address(t, false); }},
    {"ipv6", [](std::string_view t) { return is_address(t, true); }},
    {"uuid", [](std::string_view t) { return is_uuid(t); }},
    {"email", [](std::string_view t) { return is_email(t); }},
    {"uri", [](std::string_view t) { return is_uri(t); }},
};

pcre2_code* compile_code(std::string_view expression, int& error, std::size_t& offset) {
  return pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(), kOptions,
                       &error, &offset, nullptr);
}

/// What a thread matches with.
struct Scratch {
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  std::uint64_t steps = 0;
  std::uint64_t steps_max = 0;

  Scratch() {
    if (context == nullptr) return;
    pcre2_set_heap_limit(context, kHeapKibMax);
    pcre2_set_callout(context, count_step, this);
  }
  static int count_step(pcre2_callout_block* /*block*/, void* scratch) noexcept {
    Scratch& self = *static_cast<Scratch*>(scratch);
    return ++self.steps > self.steps_max ? PCRE2_ERROR_CALLOUT : 0;
  }
  ~Scratch() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

}  // namespace

bool knows_format(std::string_view name) noexcept {
  return std::ranges::find(kFormats, name, &Format::name) != std::end(kFormats);
}

bool has_format(std::string_view text, std::string_view name) noexcept {
  const auto* format = std::ranges::find(kFormats, name, &Format::name);
  return format == std::end(kFormats) || format->has(text);
}

std::shared_ptr<const TextPattern> TextPattern::compile(std::string_view expression) {
  int error = 0;
  std::size_t offset = 0;
  pcre2_code* code = compile_code(expression, error, offset);
  if (code == nullptr) return nullptr;
  return std::shared_ptr<const TextPattern>(new TextPattern(code));
}

TextPattern::~TextPattern() { pcre2_code_free(static_cast<pcre2_code*>(code_)); }

TextPattern::Search TextPattern::search(std::string_view text,
                                        std::uint64_t steps_max) const noexcept {
  thread_local Scratch scratch;
  if (scratch.context == nullptr || scratch.data == nullptr) return {};
  scratch.steps = 0;
  scratch.steps_max = steps_max;
  const int found =
      pcre2_match(static_cast<const pcre2_code*>(code_), reinterpret_cast<PCRE2_SPTR>(text.data()),
                  text.size(), 0, PCRE2_NO_UTF_CHECK, scratch.data, scratch.context);
  const Found meaning = found >= 0                     ? Found::kYes
                        : found == PCRE2_ERROR_NOMATCH ? Found::kNo
                                                       : Found::kTooMuchWork;
  return {.found = meaning, .steps = scratch.steps};
}

std::string problem_of_pattern(std::string_view expression) {
  int error = 0;
  std::size_t offset = 0;
  pcre2_code* code = compile_code(expression, error, offset);
  if (code != nullptr) {
    pcre2_code_free(code);
    return {};
  }
  unsigned char message[128] = {};
  pcre2_get_error_message(error, message, sizeof message);
  return fmt::format("the expression is wrong at {}: {}", offset,
                     reinterpret_cast<const char*>(message));
}

}  // namespace merlon::policy
