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
  /// 24 bytes each; made as the parts of the table are first used.
  static constexpr std::size_t kEntries = 1UL << 18U;

  /// Notes what `digest`, a cryptographic hash, stands for until `expires_s`; `now_s` tells which
  /// entries are over. The first sixteen bytes count.
  [[nodiscard]] Seen note(std::span<const unsigned char, 32> digest, std::int64_t expires_s,
                          std::int64_t now_s);

 private:
  static constexpr std::size_t kShards = 64;  // so that workers rarely meet at a mutex
  static constexpr std::size_t kWays = 16;
  static constexpr std::size_t kSets = kEntries / kShards / kWays;
  struct Entry {
    std::uint64_t high = 0;
    std::uint64_t low = 0;
    std::int64_t expires_s = INT64_MIN;
  };
  struct Shard {
    std::mutex mutex;
    std::vector<Entry> entries;
  };
  std::array<Shard, kShards> shards_;
};

}  // namespace merlon::state
