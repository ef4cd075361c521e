#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "state/redis/settings.h"

/// What Redis runs: the scripts that count, what they are given and what they answer. They alone
/// decide, by the clock of Redis, so the clocks of nodes play no part. docs/shared-limits.md
/// derives what they guarantee.
namespace merlon::state {

/// A limit of requests: GCRA over one arrival time, with the tokens that nodes hold on lease.
///
/// KEYS[1] is "TIME" or "TIME|NODE,GENERATION,TOKENS,EXPIRES|…", in microseconds since 2024.
/// ARGV: interval in microseconds (a multiple of 1/16), burst, tokens wanted, node, generation,
/// tokens given back. More than one token wanted takes a lease, of which one is spent at once; it
/// is granted in part where all of it is not there. A generation that is not above the one on
/// record is late: it gets one token at most and changes nothing of the lease. Generation 0 asks
/// for a single token apart from any lease.
/// Answers: tokens granted; how far the arrival time is ahead, after them; and, when none was
/// granted, how long until one is. In microseconds.
inline constexpr std::size_t kRateScript = 0;
/// A quota: a count in the hour, day or month (UTC) of Redis's clock.
///
/// KEYS[1] is "START,END,COUNT" in seconds. ARGV: limit, "h", "d" or "m", tokens wanted, tokens
/// given back, start of the window that these are of.
/// Answers: tokens granted, tokens left, milliseconds to the end of the window, its start.
inline constexpr std::size_t kQuotaScript = 1;

/// Both, in the order of their numbers.
[[nodiscard]] std::span<const redis::Script> limit_scripts();

/// For how long Redis keeps tokens on a node's record. Nodes use them for half of that at most, so
/// that clocks which run at different speeds, or a node that is paused, do no harm.
inline constexpr milliseconds kLeaseKept{2'000};
inline constexpr milliseconds kLeaseUsed{1'000};

}  // namespace merlon::state
