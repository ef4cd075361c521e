#pragma once

#include <cstddef>
#include <string_view>

#include "base/error.h"
#include "http/message.h"

/// What every request must hold, whichever protocol brought it: HTTP/1.1 and HTTP/2 judge by the
/// same functions, so that none is a way around the other. Errors have client blame; offsets count
/// from the start of what was given.
namespace merlon::http {

/// The longest method served; the longest registered one has 17 characters.
inline constexpr std::size_t kMethodBytesMax = 64;

/// Reads a request target in origin, absolute or asterisk form (RFC 9112 §3.2) into `out`, views
/// into `target`. kBadTarget for any byte that is not visible ASCII, for a fragment, for what is
/// neither a path nor an http or https URI, and for `*` without OPTIONS; kBadHost for an empty
/// authority or user information. An OPTIONS request for a URI without path is one for the whole
/// server (§3.2.4).
[[nodiscard]] Result<void> parse_target(std::string_view target, Method method,
                                        Target& out) noexcept;

/// Judges the line that was added last: kDuplicateField when it may come only once and came before,
/// kAliasedField when its name reads as a field that Merlon sets, judges or strips. Call it for
/// each line as it comes.
[[nodiscard]] Result<void> judge_last_field(const Fields& fields) noexcept;

/// kAliasedField when two different names read as one once `_` and `.` are taken for `-`. Call it
/// once, for the whole head. Cost: linear in the bytes of the names, whatever they are.
[[nodiscard]] Result<void> judge_aliases(const Fields& fields) noexcept;

/// True when a name has '_' or '.', so that it can be an alias at all.
[[nodiscard]] bool is_aliasable(std::string_view name) noexcept;

/// True when some TE line accepts trailers (RFC 9110 §10.1.4).
[[nodiscard]] bool accepts_trailers(const Fields& fields) noexcept;

}  // namespace merlon::http
