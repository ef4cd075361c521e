#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/diagnostics.h"
#include "config/schema.h"
#include "config/tree.h"

/// Waivers: named exceptions with a reason, an owner and an expiry date. The only way to an
/// insecure state.
namespace merlon::config {

/// A calendar date in UTC.
using Date = std::chrono::sys_days;

/// "2027-02-01"; nullopt for anything else and for days that do not exist.
[[nodiscard]] std::optional<Date> parse_date(std::string_view text);
[[nodiscard]] std::string format_date(Date date);

/// One exception, as written under `waivers:`.
struct Waiver {
  std::string rule;    ///< slug in the catalogue
  std::string on;      ///< dotted place, "upstreams.legacy"
  std::string reason;  ///< at least 10 characters
  std::string owner;   ///< e-mail address or name of a team
  Date expires{};      ///< the last day on which it holds
  Mark at;
  std::size_t index = 0;  ///< position in the list: the slot of its run-time counter
  bool used = false;      ///< some check was let through because of it
  /// A counter tells how often it was needed. Otherwise what it waives is of the configuration, not
  /// of requests: it is needed for as long as the configuration stays as it is.
  bool counted = false;

  [[nodiscard]] bool expired(Date today) const noexcept { return today > expires; }
  /// In force, and ends within 30 days; within 7 for `policy-observed`.
  [[nodiscard]] bool ends_soon(Date today) const noexcept;
};

/// The schema of one waiver: documents the key `waivers`, which Waivers::read reads.
[[nodiscard]] const Object<Waiver>& waiver_schema();
/// The type of the key `waivers`, for `Object::read_apart`.
[[nodiscard]] Type<std::vector<Waiver>> waiver_list();

/// What a date in the past does. A check, or a reload of a changed configuration, refuses it; a
/// start or restart serves with it and warns: no surprise at midnight, nor at restart. A date too
/// far ahead is an error in both, unless the clock is one that was never set.
enum class ExpiryMode : unsigned char { kRefuse, kWarn };

/// The waivers of a configuration. Filled and marked while it is compiled, read-only after.
///
/// Order of use: `read`, then compile with `allows` / `require_waived`, then `report_unused`.
class Waivers {
 public:
  Waivers() = default;
  /// Reads the list under the key `waivers` of `root`; none is fine. Everything wrong with it is
  /// reported: unknown rule, unknown place, blank reason, a date that is past (see `mode`) or
  /// further ahead than 180 days (30 for `policy-observed`), the same exception twice. Waivers that
  /// end within 30 days are warned of. `place_exists` judges `on`; by default it is looked up in
  /// `root`.
  [[nodiscard]] static Waivers read(
      const Node& root, Date today, ExpiryMode mode, Diagnostics& out,
      const std::function<bool(std::string_view place)>& place_exists = {});

  /// True when a waiver names exactly this rule and place; it then counts as used.
  [[nodiscard]] bool allows(std::string_view rule, std::string_view place) {
    return use(rule, place) != nullptr;
  }
  /// As `allows`, with the waiver. Valid as long as this object is not assigned to.
  [[nodiscard]] const Waiver* use(std::string_view rule, std::string_view place);
  /// The same without counting as used: for reports.
  [[nodiscard]] const Waiver* find(std::string_view rule, std::string_view place) const;

  /// The index of the waiver of this rule and place, for whoever counts at run time how often it
  /// is needed: it is `counted` from here on. It does not count as used.
  [[nodiscard]] std::optional<std::size_t> counter(std::string_view rule, std::string_view place);

  [[nodiscard]] const std::vector<Waiver>& all() const noexcept { return waivers_; }
  [[nodiscard]] std::vector<const Waiver*> unused() const;
  /// A waiver that waived nothing is an error: what is accepted is effective.
  void report_unused(Diagnostics& out) const;

 private:
  std::vector<Waiver> waivers_;
};

/// The `help` of a note that a waiver of the note's rule, on `place`, is in use.
[[nodiscard]] std::string where_waived(std::string_view place);

/// Judges a violated rule. With a waiver for (`slug`, `place`): a note, and true. Without: an error
/// that carries the rule, what to do, and the YAML of a waiver to copy; false.
bool require_waived(Diagnostics& out, Waivers& waivers, std::string_view slug,
                    std::string_view place, const Mark& at, std::string message);

/// Reports a violated rule that no waiver lets pass, with what to do.
void refuse_always(Diagnostics& out, std::string_view slug, const Mark& at, std::string message);

}  // namespace merlon::config
