#include "state/limit_script.h"

#include <fmt/format.h>
#include <openssl/evp.h>

namespace merlon::state {
namespace {

// 2,000,000 is kLeaseKept. Times are doubles: exact to 1/16 us for the next decades.
constexpr std::string_view kRate = R"lua(
local t = redis.call('TIME')
local now = (tonumber(t[1]) - 1704067200) * 1000000 + tonumber(t[2])
local interval, burst, want = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local node, generation, back = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local span = interval * burst
local arrival, out, others = now, 0, ''
local mine, seen, life = 0, 0, 0
local over = {}
local changed = back > 0
local value = redis.call('GET', KEYS[1])
if value then
  local bar = string.find(value, '|', 1, true)
  arrival = tonumber(bar and string.sub(value, 1, bar - 1) or value) or now
  if bar then
    for id, gen, n, ends in string.gmatch(value, '|(%x+),(%d+),(%d+),(%-?%d+)') do
      ends = tonumber(ends)
      -- Written when the clock was ahead of now: it has been set back.
      if ends > now + 2000000 then ends, changed = now + 2000000, true end
      if ends > now then
        if id == node then
          seen, mine, life = tonumber(gen), tonumber(n), ends
        else
          out = out + tonumber(n)
          others = others .. '|' .. id .. ',' .. gen .. ',' .. n .. ',' .. string.format('%d', ends)
        end
      else
        over[#over + 1] = {ends, tonumber(n)}
      end
    end
  end
end
-- While leases were on record nothing was refilled beyond them: of those that ended, to their end.
table.sort(over, function(a, b) return a[1] > b[1] end)
local held = out + mine
for _, lease in ipairs(over) do
  held = held + lease[2]
  arrival = math.max(arrival, lease[1] + held * interval)
end
arrival = math.max(arrival, now + (out + mine) * interval)
if generation > seen then
  changed = changed or mine > 0
  seen, mine = generation, 0
elseif want > 1 then
  want, generation = 1, 0
end
arrival = math.max(arrival - back * interval, now + (out + mine) * interval)
if arrival > now + span then arrival, changed = now + span, true end
local granted = math.min(want, math.floor((now + span - arrival) / interval))
if granted > 0 then
  arrival = arrival + granted * interval
  changed = true
  if want > 1 and granted > 1 then
    mine = granted - 1
    life = now + 2000000
  end
end
if changed then
  local keep = arrival - now
  if out + mine > 0 then keep = math.max(keep, 2000000 + (out + mine) * interval) end
  value = string.format('%.4f', arrival) .. others
  if mine > 0 then
    value = value .. '|' .. node .. ',' .. string.format('%d,%d,%d', seen, mine, life)
  end
  redis.call('SET', KEYS[1], value, 'PX', math.ceil(keep / 1000) + 1)
end
local retry = 0
if want > 0 and granted == 0 then retry = arrival + interval - now - span end
return {granted, math.ceil(arrival - now), math.ceil(retry)}
)lua";

// Months by the proleptic Gregorian calendar: days to a date and back, with years that begin in
// March.
constexpr std::string_view kQuota = R"lua(
local function days(y, m)
  if m <= 2 then y, m = y - 1, m + 12 end
  return 365 * y + math.floor(y / 4) - math.floor(y / 100) + math.floor(y / 400)
    + math.floor((153 * (m - 3) + 2) / 5) - 719468
end
local function window(unit, now)
  local length = unit == 'h' and 3600 or 86400
  if unit ~= 'm' then
    local start = now - now % length
    return start, start + length
  end
  local z = math.floor(now / 86400)
  local y = 1970 + math.floor(z / 365.2425)
  while days(y, 1) > z do y = y - 1 end
  while days(y + 1, 1) <= z do y = y + 1 end
  local m = 12
  while days(y, m) > z do m = m - 1 end
  local after = m == 12 and days(y + 1, 1) or days(y, m + 1)
  return days(y, m) * 86400, after * 86400
end
local t = redis.call('TIME')
local now = tonumber(t[1])
local limit, want, back = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
local start, ends = window(ARGV[2], now)
local count, moved = 0, false
local value = redis.call('GET', KEYS[1])
if value then
  local s, e, c = string.match(value, '^(%d+),(%d+),(%d+)$')
  s = tonumber(s)
  if s and s >= start then
    count = tonumber(c)
    -- A window that begins later than the next one is of a clock that went ahead and came back: to
    -- wait for it could take years.
    moved = s > ends
    if not moved then start, ends = s, tonumber(e) end
  end
end
local before = count
if back > 0 and tonumber(ARGV[5]) == start then count = math.max(count - back, 0) end
local granted = math.max(math.min(want, limit - count), 0)
count = count + granted
local left = (ends - now) * 1000 - math.floor(tonumber(t[2]) / 1000)
if count ~= before or moved then
  redis.call('SET', KEYS[1], string.format('%d,%d,%d', start, ends, count), 'PX',
    math.max(left, 0) + 1000)
end
return {granted, math.max(limit - count, 0), math.max(left, 0), start}
)lua";

// The script of rates has it in microseconds.
static_assert(kLeaseKept == microseconds{2'000'000});

// One token a second, and one given back, so that it writes.
constexpr std::string_view kProbe[] = {"1000000", "1", "1", "0", "0", "1"};

std::string sha1_of(std::string_view text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  EVP_Digest(text.data(), text.size(), digest, &size, EVP_sha1(), nullptr);
  std::string hex;
  for (unsigned i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

}  // namespace

std::span<const redis::Script> limit_scripts() {
  static const std::array<redis::Script, 2> scripts{
      redis::Script{.text = kRate, .sha1 = sha1_of(kRate), .probe = kProbe},
      redis::Script{.text = kQuota, .sha1 = sha1_of(kQuota)}};
  return scripts;
}

}  // namespace merlon::state
