#include "identity/token_cache.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace merlon::identity {
namespace {

// A slot and an identity of usual size; fewer slots would leave memory unused, more would be empty.
constexpr std::size_t kTypicalEntryBytes = 512;
constexpr std::size_t kSetsFirst = 32;

bool expired(const TokenCache::Entry& entry, TokenTime now) noexcept {
  const auto expires = entry.identity->expires();
  return expires.has_value() && *expires < now;
}

}  // namespace

TokenCache::TokenCache(std::size_t bytes_max)
    : bytes_max_(bytes_max),
      sets_max_(std::bit_floor(std::max<std::size_t>(1, bytes_max / kTypicalEntryBytes / kWays))) {}

std::span<TokenCache::Entry> TokenCache::set_of(const Sha256& token) noexcept {
  std::uint64_t index = 0;
  std::memcpy(&index, token.data(), sizeof index);
  return std::span(entries_).subspan((index & set_mask_) * kWays, kWays);
}

void TokenCache::clear(Entry& entry) noexcept {
  if (entry.identity == nullptr) return;
  bytes_ -= entry.identity->memory_bytes();
  --size_;
  entry = Entry{};
}

const TokenCache::Entry* TokenCache::find(const Sha256& token, std::uint64_t policy_id) noexcept {
  if (entries_.empty()) return nullptr;
  for (Entry& entry : set_of(token)) {
    if (entry.identity == nullptr || entry.policy_id != policy_id || entry.token != token) continue;
    entry.used = ++clock_;
    return &entry;
  }
  return nullptr;
}

/// The table at twice its size, or at its first. False when it may not be larger.
bool TokenCache::grow() {
  const std::size_t sets = entries_.empty() ? std::min(kSetsFirst, sets_max_) : 2 * (set_mask_ + 1);
  const std::size_t more = sizeof(Entry) * (sets * kWays - entries_.size());
  if (sets > sets_max_ || (!entries_.empty() && bytes_ + more > bytes_max_)) return false;
  std::vector<Entry> before(sets * kWays);
  before.swap(entries_);
  set_mask_ = sets - 1;
  bytes_ += more;
  for (Entry& entry : before) {
    if (entry.identity == nullptr) continue;
    // A set's entries go to two sets, so there is room.
    const auto set = set_of(entry.token);
    *std::ranges::find(set, nullptr, &Entry::identity) = std::move(entry);
  }
  return true;
}

/// The place for a token in its set: an empty one, or else that which was used longest ago.
TokenCache::Entry& TokenCache::slot_for(const Sha256& token, std::uint64_t policy_id,
                                        TokenTime now) noexcept {
  Entry* slot = nullptr;
  for (Entry& entry : set_of(token)) {
    if (entry.identity != nullptr &&
        (expired(entry, now) || (entry.policy_id == policy_id && entry.token == token))) {
      clear(entry);
    }
    if (slot == nullptr || (slot->identity != nullptr && entry.used < slot->used)) slot = &entry;
  }
  return *slot;
}

void TokenCache::insert(const Sha256& token, std::uint64_t policy_id, std::uint64_t key_id,
                        std::shared_ptr<const Identity> identity, TokenTime now,
                        Instant good_until) {
  if (entries_.empty()) static_cast<void>(grow());
  Entry* slot = &slot_for(token, policy_id, now);
  while (slot->identity != nullptr && grow()) slot = &slot_for(token, policy_id, now);
  clear(*slot);
  const std::size_t bytes = identity->memory_bytes();
  for (Entry& entry : set_of(token)) {
    if (bytes_ + bytes <= bytes_max_) break;
    clear(entry);
  }
  if (bytes_ + bytes > bytes_max_) return;
  bytes_ += bytes;
  ++size_;
  *slot = Entry{.token = token,
                .policy_id = policy_id,
                .key_id = key_id,
                .identity = std::move(identity),
                .used = ++clock_,
                .good_until = good_until};
}

void TokenCache::erase(const Sha256& token, std::uint64_t policy_id) noexcept {
  if (entries_.empty()) return;
  for (Entry& entry : set_of(token)) {
    if (entry.identity != nullptr && entry.policy_id == policy_id && entry.token == token) {
      clear(entry);
    }
  }
}

}  // namespace merlon::identity
