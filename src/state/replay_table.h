#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

namespace merlon::state {

/// Things that may be shown once while they are good, such as proofs of possession (RFC 9449
/// §11.1): exact over all workers and bounded. A place that is full of live entries takes no new
/// ones, so that nobody can push out what was shown. Any thread.
class ReplayTable {
 public:
  enum class Seen : std::uint8_t { kNever, kBefore, kNoRoom };
  /// 16 bytes each, 16 MiB; made as the parts of the table are first used. Proofs that are kept
  /// for two minutes come to 8,700 a second.
  static constexpr std::size_t kEntries = 1UL << 20U;

  /// Notes what `digest`, a cryptographic hash, stands for until `expires_s`; `now_s` tells which
  /// entries are over. Both are seconds since 1970, until 2106. Of the digest twelve bytes are
  /// kept.
  [[nodiscard]] Seen note(std::span<const unsigned char, 32> digest, std::int64_t expires_s,
                          std::int64_t now_s);

 private:
  static constexpr std::size_t kShards = 64;  // so that workers rarely meet at a mutex
  static constexpr std::size_t kWays = 16;
  static constexpr std::size_t kSets = kEntries / kShards / kWays;
  struct Entry {
    std::uint64_t high = 0;
    std::uint32_t low = 0;
    std::uint32_t expires_s = 0;
  };
  static_assert(sizeof(Entry) == 16);
  using Set = std::span<Entry, kWays>;
  [[nodiscard]] static bool holds(Set set, const Entry& wanted, std::uint32_t now_s) noexcept;
  struct Shard {
    std::mutex mutex;
    std::vector<Entry> entries;
  };
  std::array<Shard, kShards> shards_;
};

}  // namespace merlon::state
