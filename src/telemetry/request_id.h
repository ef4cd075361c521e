#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace merlon::telemetry {

/// 16 random bytes as 32 lower-case hexadecimal digits, held inline.
struct RequestId {
  std::array<char, 32> hex{};
  [[nodiscard]] std::string_view view() const noexcept { return {hex.data(), hex.size()}; }
  bool operator==(const RequestId&) const = default;
};

/// Random bytes for identifiers: the ChaCha20 key stream (RFC 8439 §2.3) under a key from
/// getrandom(2), so that who has seen ids cannot tell the next or the ones before.
///
/// Not for keys: the state is kept in plain memory and not renewed. One per thread, made after the
/// last fork (a copy would repeat the ids). About 20 ns an id, no system call.
class IdGenerator {
 public:
  /// Takes a key from the kernel; aborts when it has none, which only happens where getrandom(2) is
  /// forbidden.
  IdGenerator();
  /// A known key, for tests.
  explicit IdGenerator(const std::array<std::uint32_t, 8>& key) noexcept;

  [[nodiscard]] RequestId next() noexcept;
  [[nodiscard]] std::uint64_t next_u64() noexcept;

 private:
  void refill() noexcept;

  static constexpr std::size_t kBlocks = 4;  ///< made at a time, one for each lane of a vector

  std::array<std::uint32_t, 16> state_{};
  std::array<std::uint32_t, 16 * kBlocks> stream_{};
  std::size_t used_ = stream_.size();  ///< words of `stream_` given out
};

/// Writes `count` bytes, a multiple of four, as hexadecimal digits, two for each.
void write_hex(char* out, const std::uint8_t* bytes, std::size_t count) noexcept;

}  // namespace merlon::telemetry
