#include "telemetry/request_id.h"

#include <sys/random.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace merlon::telemetry {
namespace {

// A word of four blocks at once. The compilers that build this know vectors on every processor.
using Lanes = std::uint32_t __attribute__((vector_size(16)));
using Blocks = std::array<Lanes, 16>;

Lanes rotl(Lanes x, int by) noexcept { return x << by | x >> (32 - by); }

void quarter_round(Blocks& x, std::size_t a, std::size_t b, std::size_t c, std::size_t d) noexcept {
  x[a] += x[b];
  x[d] = rotl(x[d] ^ x[a], 16);
  x[c] += x[d];
  x[b] = rotl(x[b] ^ x[c], 12);
  x[a] += x[b];
  x[d] = rotl(x[d] ^ x[a], 8);
  x[c] += x[d];
  x[b] = rotl(x[b] ^ x[c], 7);
}

/// A block of key stream for each lane of `state` (RFC 8439 §2.3).
Blocks chacha20_blocks(const Blocks& state) noexcept {
  Blocks x = state;
  for (int i = 0; i < 10; ++i) {
    quarter_round(x, 0, 4, 8, 12);
    quarter_round(x, 1, 5, 9, 13);
    quarter_round(x, 2, 6, 10, 14);
    quarter_round(x, 3, 7, 11, 15);
    quarter_round(x, 0, 5, 10, 15);
    quarter_round(x, 1, 6, 11, 12);
    quarter_round(x, 2, 7, 8, 13);
    quarter_round(x, 3, 4, 9, 14);
  }
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += state[i];
  return x;
}

/// The 8 digits of four bytes, the first byte's first: each nibble in a byte of its own, then 'a'
/// to 'f' moved up from behind '9'.
std::uint64_t hex_of(std::uint32_t bytes) noexcept {
  std::uint64_t x = bytes;
  x = (x | x << 16U) & 0x0000ffff0000ffffULL;
  x = (x | x << 8U) & 0x00ff00ff00ff00ffULL;
  x = (x & 0x000f000f000f000fULL) << 8U | (x & 0x00f000f000f000f0ULL) >> 4U;
  const std::uint64_t letters = (x + 0x0606060606060606ULL) >> 4U & 0x0101010101010101ULL;
  return x + 0x3030303030303030ULL + letters * ('a' - '0' - 10);
}

std::array<std::uint32_t, 8> kernel_key() {
  std::array<std::uint32_t, 8> key{};
  // Requests of up to 256 bytes are never cut short once the pool is ready (getrandom(2)).
  while (::getrandom(key.data(), sizeof key, 0) != sizeof key) {
    if (errno != EINTR) std::abort();
  }
  return key;
}

}  // namespace

IdGenerator::IdGenerator() : IdGenerator(kernel_key()) {}

IdGenerator::IdGenerator(const std::array<std::uint32_t, 8>& key) noexcept {
  // "expand 32-byte k", the key, a block counter and a nonce of zeros: the key is used once.
  state_ = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
  for (std::size_t i = 0; i < key.size(); ++i) state_[4 + i] = key[i];
}

void IdGenerator::refill() noexcept {
  Blocks state;
  for (std::size_t i = 0; i < state.size(); ++i)
    state[i] = Lanes{state_[i], state_[i], state_[i], state_[i]};
  for (std::size_t lane = 0; lane < kBlocks; ++lane) {
    state[12][lane] = state_[12];
    state[13][lane] = state_[13];
    // 64 bits of counter: no repetition in the life of a machine.
    if (++state_[12] == 0) ++state_[13];
  }
  const Blocks made = chacha20_blocks(state);
  for (std::size_t lane = 0; lane < kBlocks; ++lane) {
    for (std::size_t i = 0; i < made.size(); ++i) stream_[16 * lane + i] = made[i][lane];
  }
  used_ = 0;
}

std::uint64_t IdGenerator::next_u64() noexcept {
  if (used_ == stream_.size()) refill();
  const std::uint64_t low = stream_[used_];
  const std::uint64_t high = stream_[used_ + 1];
  used_ += 2;
  return high << 32U | low;
}

RequestId IdGenerator::next() noexcept {
  const std::array<std::uint64_t, 2> words{next_u64(), next_u64()};
  const auto bytes = std::bit_cast<std::array<std::uint8_t, 16>>(words);
  RequestId id;
  write_hex(id.hex.data(), bytes.data(), bytes.size());
  return id;
}

void write_hex(char* out, const std::uint8_t* bytes, std::size_t count) noexcept {
  static_assert(std::endian::native == std::endian::little, "the first byte is the lowest");
  for (std::size_t i = 0; i < count; i += 4) {
    std::uint32_t word;
    std::memcpy(&word, bytes + i, sizeof word);
    const std::uint64_t digits = hex_of(word);
    std::memcpy(out + 2 * i, &digits, sizeof digits);
  }
}

}  // namespace merlon::telemetry
