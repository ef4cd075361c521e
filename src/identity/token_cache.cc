#include "identity/token_cache.h"

#include <bit>
#include <cstring>
#include <utility>

namespace merlon::identity {
namespace {

// A slot and an identity of usual size; fewer slots would leave memory unused, more would be empty.
constexpr std::size_t kTypicalEntryBytes = 512;

bool expired(const TokenCache::Entry& entry, TokenTime now) noexcept {
  const auto expires = entry.identity->expires();
  return expires.has_value() && *expires < now;
}

}  // namespace

TokenCache::TokenCache(std::size_t bytes_max) : bytes_max_(bytes_max) {
  const std::size_t sets =
      std::bit_floor(std::max<std::size_t>(1, bytes_max / kTypicalEntryBytes / kWays));
  set_mask_ = sets - 1;
}

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

void TokenCache::insert(const Sha256& token, std::uint64_t policy_id, std::uint64_t key_id,
                        std::shared_ptr<const Identity> identity, TokenTime now,
                        TokenTime good_until) {
  if (entries_.empty()) {
    entries_.resize((set_mask_ + 1) * kWays);
    bytes_ = entries_.size() * sizeof(Entry);
  }
  Entry* victim = nullptr;
  for (Entry& entry : set_of(token)) {
    if (entry.identity != nullptr &&
        (expired(entry, now) || (entry.policy_id == policy_id && entry.token == token))) {
      clear(entry);
    }
    if (victim == nullptr || (victim->identity != nullptr && entry.used < victim->used)) {
      victim = &entry;
    }
  }
  clear(*victim);
  const std::size_t bytes = identity->memory_bytes();
  for (Entry& entry : set_of(token)) {
    if (bytes_ + bytes <= bytes_max_) break;
    clear(entry);
  }
  if (bytes_ + bytes > bytes_max_) return;
  bytes_ += bytes;
  ++size_;
  *victim = Entry{.token = token,
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
