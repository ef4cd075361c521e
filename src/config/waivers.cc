#include "config/waivers.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/ascii.h"
#include "config/catalogue.h"
#include "config/shown.h"

namespace merlon::config {
namespace {

using std::chrono::days;

constexpr std::size_t kWaiversMax = 1024;
constexpr days kLifeMax{180};
constexpr days kObservedLifeMax{30};  // shadow mode: long enough to see a month's traffic
// A start, and what was accepted before, wait for no clock that is behind by this much.
constexpr days kClockLeeway{2};
// No program of this source ran before. A clock that says so was never set: a start must not fail
// for it.
constexpr Date kClockIsRight{std::chrono::year{2026} / 1 / 1};
constexpr days kWarnBefore{30};
constexpr days kObservedWarnBefore{7};  // a month of warnings about a month would be noise
constexpr std::size_t kReasonBytesMin = 10;
constexpr std::string_view kObserved = "policy-observed";

std::optional<unsigned> digits(std::string_view text) {
  unsigned value = 0;
  for (const char c : text) {
    if (!ascii::is_digit(c)) return std::nullopt;
    value = value * 10 + static_cast<unsigned>(c - '0');
  }
  return value;
}

std::size_t visible_characters(std::string_view text) {
  std::size_t count = 0;
  for (const char c : text) {
    if (c != ' ' && (static_cast<unsigned char>(c) & 0xC0U) != 0x80U) ++count;
  }
  return count;
}

std::string problem_of_reason(const std::string& reason) {
  if (visible_characters(reason) >= kReasonBytesMin) return {};
  return fmt::format("say why in at least {} characters", kReasonBytesMin);
}

/// An address `local@domain`, or the name of a team: enough to reach someone, not a mail parser.
std::string problem_of_owner(const std::string& owner) {
  static constexpr auto kTeamChars =
      ascii::CharSet("-_. /#").add_range('a', 'z').add_range('A', 'Z').add_range('0', '9');
  const std::size_t at = owner.find('@');
  if (at == std::string::npos) {
    const bool good = owner.size() >= 2 && kTeamChars.contains_all(owner) &&
                      ascii::is_alnum(owner.front()) && ascii::is_alnum(owner.back());
    return good ? "" : "it is neither an e-mail address nor the name of a team";
  }
  const std::string_view domain = std::string_view(owner).substr(at + 1);
  const bool good = at > 0 && domain.size() >= 3 && domain.find('@') == std::string_view::npos &&
                    domain.find('.') != std::string_view::npos && domain.front() != '.' &&
                    domain.back() != '.' && owner.find(' ') == std::string::npos;
  return good ? "" : "it is no e-mail address";
}

Type<std::string> rule_type() {
  return custom<std::string>(
      {.name = "the slug of a rule",
       .example = "upstream-cleartext",
       .pattern = "^[a-z0-9]+(-[a-z0-9]+)*$",
       .parse = [](std::string_view text) -> std::expected<std::string, std::string> {
         if (find_rule(text) != nullptr) return std::string(text);
         const std::string_view near = nearest_slug(text);
         if (near.empty()) return std::unexpected("no rule has this name");
         return std::unexpected(fmt::format("no rule has this name; did you mean `{}`?", near));
       },
       .format = [](const std::string& slug) { return slug; }});
}

Type<Date> date_type() {
  return custom<Date>({.name = "a date",
                       .example = "2027-02-01",
                       .pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
                       .parse = [](std::string_view text) -> std::expected<Date, std::string> {
                         if (const auto date = parse_date(text)) return *date;
                         return std::unexpected(
                             "it is not a day of the calendar, written year-month-day");
                       },
                       .format = [](const Date& date) { return format_date(date); }});
}

Type<std::string> with_example(Type<std::string> type, std::string name, std::string example) {
  const auto shape = std::make_shared<Shape>(*type.shape);
  shape->name = std::move(name);
  shape->example = std::move(example);
  type.shape = shape;
  return type;
}

days life_max(const Waiver& waiver) {
  return waiver.rule == kObserved ? kObservedLifeMax : kLifeMax;
}

/// Where the dates of a waiver stand against today.
void judge_dates(const Waiver& waiver, Date today, ExpiryMode mode, Diagnostics& out) {
  const auto say = [&](std::string message, std::string help) {
    if (mode == ExpiryMode::kRefuse) {
      out.error(waiver.at, std::move(message), std::move(help));
    } else {
      out.warning(waiver.at, std::move(message), std::move(help));
    }
  };
  const auto left = (waiver.expires - today).count();
  if (waiver.expired(today)) {
    say(fmt::format("the waiver of `{}` on `{}` expired on {}", waiver.rule, waiver.on,
                    format_date(waiver.expires)),
        fmt::format("fix what it waives, or ask {} to decide again", waiver.owner));
  } else if (left > life_max(waiver).count()) {
    // Not one more day passes by waiting: but for a clock that is behind, a little or far, the date
    // is a mistake.
    const bool a_little = left <= (life_max(waiver) + kClockLeeway).count();
    if (today >= kClockIsRight && !a_little) mode = ExpiryMode::kRefuse;
    say(fmt::format("the waiver of `{}` on `{}` lasts {} days, {} are allowed", waiver.rule,
                    waiver.on, left, life_max(waiver).count()),
        fmt::format("the latest date today is {}", format_date(today + life_max(waiver))));
  } else if (waiver.ends_soon(today)) {
    out.warning(waiver.at, fmt::format("the waiver of `{}` on `{}` ends in {} days", waiver.rule,
                                       waiver.on, left));
  }
}

/// Its date is an error already: it lets nothing through, and to say that it does would mislead.
bool is_refused(const Waiver& waiver, const Diagnostics& out) {
  return std::ranges::any_of(out.all(), [&](const Diagnostic& found) {
    return found.severity == Severity::kError && found.at.source == waiver.at.source &&
           found.at.line == waiver.at.line && found.at.column == waiver.at.column;
  });
}

}  // namespace

bool Waiver::ends_soon(Date today) const noexcept {
  return !expired(today) &&
         expires - today <= (rule == kObserved ? kObservedWarnBefore : kWarnBefore);
}

std::optional<Date> parse_date(std::string_view text) {
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return std::nullopt;
  const auto year = digits(text.substr(0, 4));
  const auto month = digits(text.substr(5, 2));
  const auto day = digits(text.substr(8, 2));
  if (!year || !month || !day) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(static_cast<int>(*year)),
                                         std::chrono::month(*month), std::chrono::day(*day)};
  if (!date.ok()) return std::nullopt;
  return Date{date};
}

std::string format_date(Date date) {
  const std::chrono::year_month_day day{date};
  return fmt::format("{:04}-{:02}-{:02}", static_cast<int>(day.year()),
                     static_cast<unsigned>(day.month()), static_cast<unsigned>(day.day()));
}

const Object<Waiver>& waiver_schema() {
  static const auto schema =
      Object<Waiver>("waiver",
                     "A named exception to a rule: the only way to configure anything insecure.")
          .required("rule", &Waiver::rule, rule_type(), "The rule that may be violated.")
          .required("on", &Waiver::on,
                    with_example(text(1, 512), "a dotted place", "upstreams.legacy"),
                    "The only place where it applies, as a dotted place in this configuration.")
          .required("reason", &Waiver::reason,
                    where<std::string>(with_example(text(1, 1024), "text of 10 to 1024 bytes",
                                                    "TLS lands with PLAT-123"),
                                       problem_of_reason),
                    "Why, for whoever reviews it next.")
          .required("owner", &Waiver::owner,
                    where<std::string>(
                        with_example(text(1, 254), "an e-mail address or the name of a team",
                                     "platform@example.com"),
                        problem_of_owner),
                    "Who is responsible for it.")
          .required("expires", &Waiver::expires, date_type(),
                    "The last day (UTC) on which it is valid: at most 180 days ahead, 30 for "
                    "`policy-observed`.")
          .mark(&Waiver::at);
  return schema;
}

Type<std::vector<Waiver>> waiver_list() { return list_of(object(waiver_schema()), 0, kWaiversMax); }

Waivers Waivers::read(const Node& root, Date today, ExpiryMode mode, Diagnostics& out,
                      const std::function<bool(std::string_view place)>& place_exists) {
  Waivers result;
  const Node* list = root.find("waivers");
  if (list == nullptr) return result;
  Reader reader(out);
  const Reader::Step step(reader, "waivers");
  if (!list->is_sequence() || list->items().size() > kWaiversMax) {
    static_cast<void>(waiver_list().read(*list, result.waivers_, reader));
    return result;
  }
  std::size_t index = 0;
  for (const Node& item : list->items()) {
    Waiver waiver;
    waiver.index = index++;
    if (!waiver_schema().read(item, waiver, reader)) continue;
    const bool known = place_exists ? place_exists(waiver.on) : resolve(root, waiver.on) != nullptr;
    if (!known) {
      reader.error(item.find("on")->at(), fmt::format("there is nothing at {}", shown(waiver.on)),
                   "name a place of this configuration, such as `routes.orders`");
    }
    if (const Waiver* first = result.find(waiver.rule, waiver.on)) {
      reader.error(waiver.at, "this exception is given twice",
                   fmt::format("the first is at {}", first->at.to_string()));
      continue;
    }
    judge_dates(waiver, today, mode, out);
    // Kept with a wrong date, so that what it waives is not reported as well; with a wrong place it
    // counts as used, since one error about it is enough.
    waiver.used = !known;
    result.waivers_.push_back(std::move(waiver));
  }
  return result;
}

const Waiver* Waivers::use(std::string_view rule, std::string_view place) {
  for (Waiver& waiver : waivers_) {
    if (waiver.rule != rule || waiver.on != place) continue;
    waiver.used = true;
    return &waiver;
  }
  return nullptr;
}

const Waiver* Waivers::find(std::string_view rule, std::string_view place) const {
  for (const Waiver& waiver : waivers_) {
    if (waiver.rule == rule && waiver.on == place) return &waiver;
  }
  return nullptr;
}

std::optional<std::size_t> Waivers::counter(std::string_view rule, std::string_view place) {
  for (Waiver& waiver : waivers_) {
    if (waiver.rule != rule || waiver.on != place) continue;
    waiver.counted = true;
    return waiver.index;
  }
  return std::nullopt;
}

std::vector<const Waiver*> Waivers::unused() const {
  std::vector<const Waiver*> out;
  for (const Waiver& waiver : waivers_) {
    if (!waiver.used) out.push_back(&waiver);
  }
  return out;
}

void Waivers::report_unused(Diagnostics& out) const {
  for (const Waiver* waiver : unused()) {
    out.error(waiver->at,
              fmt::format("nothing at `{}` violates `{}`: this waiver waives nothing", waiver->on,
                          waiver->rule),
              "remove it, or check its rule and place");
  }
}

std::string where_waived(std::string_view place) {
  return fmt::format("the waiver is the one on `{}`", place);
}

bool require_waived(Diagnostics& out, Waivers& waivers, std::string_view slug,
                    std::string_view place, const Mark& at, std::string message) {
  if (const Waiver* waiver = waivers.use(slug, place)) {
    if (is_refused(*waiver, out)) return true;
    out.add({.severity = Severity::kNote,
             .at = at,
             .message = fmt::format("{}: waived until {} by {}", message,
                                    format_date(waiver->expires), waiver->owner),
             .help = where_waived(place),
             .rule = std::string(slug)});
    return true;
  }
  const Rule* rule = find_rule(slug);
  out.add({.severity = Severity::kError,
           .at = at,
           .message = std::move(message),
           .help = fmt::format("{}{}or, for a time, add to `waivers:`  - {{ rule: {}, on: {}, "
                               "reason: \"…\", owner: …, expires: YYYY-MM-DD }}",
                               rule != nullptr ? rule->remediation : "",
                               rule != nullptr ? "; " : "", slug, detail::yaml_scalar(place)),
           .rule = std::string(slug)});
  return false;
}

void refuse_always(Diagnostics& out, std::string_view slug, const Mark& at, std::string message) {
  const Rule* rule = find_rule(slug);
  out.add({.severity = Severity::kError,
           .at = at,
           .message = std::move(message),
           .help = rule != nullptr ? std::string(rule->remediation) : "",
           .rule = std::string(slug)});
}

}  // namespace merlon::config
