#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/diagnostics.h"

/// What an audit has to say. Readers (nginx, envoy, merlon) fill an AuditResult, report writers
/// show it; neither knows the other. All text is UTF-8 as far as the configuration was: writers
/// escape.
namespace merlon::audit {

/// How grave a finding is. Ordered: a higher value is graver.
enum class Level : std::uint8_t { kInfo, kLow, kMedium, kHigh, kCritical };

/// How sure the auditor is that the finding is true. kCertain: shown by the configuration itself.
/// kLikely: true unless something outside of the configuration prevents it. kPossible: worth a
/// look.
enum class Confidence : std::uint8_t { kPossible, kLikely, kCertain };

/// The configuration languages; the last three are recognised and named, not read.
enum class Kind : std::uint8_t { kUnknown, kNginx, kEnvoy, kMerlon, kHaproxy, kCaddy, kTraefik };

[[nodiscard]] std::string_view name(Level level) noexcept;       ///< "info" … "critical"
[[nodiscard]] std::string_view name(Confidence value) noexcept;  ///< "possible" … "certain"
[[nodiscard]] std::string_view name(Kind kind) noexcept;         ///< "nginx", "envoy", "merlon" …
/// Reverse of name(Level); false when `text` names none.
bool parse_level(std::string_view text, Level& out) noexcept;
/// Reverse of name(Kind) for the kinds that are read; false otherwise.
bool parse_kind(std::string_view text, Kind& out) noexcept;

/// One step of the way on which a value came to be in force: where it was set, lost or overridden,
/// or which include brought the file in. The first step is the outermost.
struct TrailStep {
  Mark at;
  std::string text;
};

/// A mechanical change of one file. Lines `first_line` to `last_line` (1-based, both included) are
/// replaced by `replacement`, whole lines each ending in a newline; an empty one deletes them.
/// `last_line == first_line - 1` inserts before `first_line`.
struct Edit {
  std::shared_ptr<const Source> file;
  std::uint32_t first_line = 0;
  std::uint32_t last_line = 0;
  std::string replacement;
};

/// An accepted finding: `# merlon: waive RULE until 2027-02-01 reason …` on its line or the line
/// before, or an entry of the configuration's own `waivers`.
struct Waiver {
  Mark at;
  std::string rule;     ///< id or slug, as written
  std::string reason;   ///< never empty in a valid waiver
  std::string owner;    ///< may be empty
  std::string expires;  ///< "YYYY-MM-DD", valid through that day (UTC)
  bool expired = false;
  bool used = false;    ///< matched at least one finding
  std::string problem;  ///< why it is not in force (no reason, no date, unknown rule); "" if it is
};

/// One defect: one root cause, at the line that causes it.
struct Finding {
  std::string rule;  ///< catalogue id, such as "HDR-01"
  Level level = Level::kMedium;
  Confidence confidence = Confidence::kCertain;
  Mark at;
  std::string message;      ///< what is, against what is expected; one sentence, no full stop
  std::string evidence;     ///< proof: the origin let through, the path that escapes; may be empty
  std::string remediation;  ///< what to write instead; empty: the catalogue's text stands
  std::vector<TrailStep> trail;
  std::vector<std::string> affected;  ///< routes or servers, as "host/path", sorted, no duplicates
  std::vector<Edit> fix;              ///< empty when there is no mechanical change
  std::string waived;                 ///< reason of the waiver in force; empty: the finding counts
  bool hide_source = false;           ///< the line holds a secret: writers must not show its text
  bool baseline = false;              ///< known from the baseline file: shown, does not fail
};

/// Something that was not, or not wholly, understood: the audit is incomplete (exit code 3).
struct Gap {
  Mark at;           ///< where reading stopped or the include that failed; may be unknown
  std::string path;  ///< the file in question
  std::string what;  ///< why, as a sentence without a full stop
};

/// A rule that could not be judged, and why ("the http block is not in the files given").
struct NotChecked {
  std::string rule;
  std::string why;
};

/// A row of the exposure map: what one route offers to whom. Text as shown; "-" for none and "?"
/// for unknown. `protected_by_*` style judgements belong to the findings, not here.
struct ExposureRow {
  Mark at;                   ///< the route's line
  std::string listener;      ///< "0.0.0.0:443 ssl http2"
  std::string host;          ///< "api.example.com *.b.example"
  std::string route;         ///< "/v1/ (prefix)"
  std::string auth;          ///< "auth_request /auth", "mTLS", "-"
  std::string limit;         ///< "limit_req api 10r/s burst 20", "-"
  std::string tls;           ///< "TLSv1.2 TLSv1.3", "-" for cleartext
  std::string upstream;      ///< "http://orders", "static /srv/www", "redirect 301"
  std::string upstream_tls;  ///< "verified", "unverified", "-" for cleartext
};

/// Something that the configuration does for security, whatever else is wrong with it.
struct Measure {
  Mark at;                  ///< the first place that asks for it; unknown: it is always taken
  std::string what;         ///< "Rate limits"
  std::string how;          ///< in one line
  std::string owasp;        ///< OWASP API Security Top 10 (2023) risks that it serves: "API4,API6"
  std::string nist;         ///< NIST SP 800-53 Rev. 5 controls: "SC-5"
  std::size_t covered = 0;  ///< routes or listeners that have it, of `total`; both 0: always taken
  std::size_t total = 0;
  std::vector<std::string> missing;  ///< the names of those that have it not
  std::vector<std::string> waived;   ///< waivers that take from it: "csp-html on routes.pages"
};

/// A certificate file that was read; the report draws its timeline.
struct CertificateSeen {
  Mark at;  ///< the directive that names it
  std::string path;
  std::string subject;
  std::string issuer;
  std::vector<std::string> names;  ///< DNS and IP subject alternative names
  std::string key;                 ///< "RSA 2048", "EC P-256"
  std::int64_t not_before = 0;     ///< seconds since 1970-01-01 UTC
  std::int64_t not_after = 0;
};

/// What was read; honesty is part of the report.
struct Counts {
  std::uint64_t files = 0;               ///< texts read, each once
  std::uint64_t lines = 0;               ///< of those texts
  std::uint64_t directives = 0;          ///< nginx directives, or keys of a YAML or JSON tree
  std::uint64_t includes = 0;            ///< include directives or file references followed
  std::uint64_t unknown_directives = 0;  ///< not known to the reader: counted, not judged
  std::uint64_t rules = 0;               ///< rules that were evaluated
};

struct AuditResult {
  std::vector<Kind> kinds;          ///< of the inputs that were read, no duplicates
  std::vector<std::string> inputs;  ///< paths as given
  std::deque<Finding> findings;     ///< sorted: level (gravest first), file, line, rule; a finding
                                    ///< stays in its place while rules add others
  std::vector<Gap> gaps;
  std::vector<NotChecked> not_checked;
  std::uint64_t reported[5] = {};  ///< findings of the rules by Level, those left out too
  bool findings_cut = false;       ///< there were more than Options.findings_max
  std::vector<ExposureRow> exposure;
  std::vector<Measure> measures;
  std::vector<CertificateSeen> certificates;
  std::vector<Waiver> waivers;
  std::vector<std::string> unknown_directives;  ///< distinct names, sorted
  std::vector<std::shared_ptr<const Source>> sources;
  std::set<std::string> own_files;  ///< paths of Merlon's: its `waivers` waive, and no comment does
  std::vector<std::string> rules_judged;  ///< ids of the rules that were evaluated, sorted
  Counts counts;
};

/// Adds `ids` to result.rules_judged, each once, and counts them.
void note_judged(AuditResult& result, const std::vector<std::string_view>& ids);

/// The posture in one letter, and what keeps it from being better.
struct Grade {
  char letter = 'A';                 ///< 'A' to 'F'; '?' when nothing could be read
  std::vector<std::string> reasons;  ///< what caps it, gravest first; empty for 'A'
};

/// A: nothing above info. B: low. C: medium. D: high. F: critical. Waived and baseline findings do
/// not count; a gap caps at C, since what was not read cannot be vouched for. A result that was cut
/// has no letter but F: what was left out may count where what is there does not.
[[nodiscard]] Grade grade(const AuditResult& result);

/// A number per level of the findings that count (neither waived nor in the baseline).
struct LevelCounts {
  std::uint64_t of[5] = {};  ///< indexed by Level
  [[nodiscard]] std::uint64_t at_least(Level level) const noexcept;
};
[[nodiscard]] LevelCounts count_levels(const AuditResult& result) noexcept;

/// Sorts findings as AuditResult promises and merges those with the same rule and place.
void normalize(AuditResult& result);

/// The edits of all findings as one unified diff that `patch -p0` takes; conflicting later edits of
/// the same lines are left out.
[[nodiscard]] std::string unified_diff(const AuditResult& result);

}  // namespace merlon::audit
