#include "telemetry/request_id.h"

#include <sys/random.h>

#include <bit>
#include <cerrno>
#include <cstdlib>

namespace merlon::telemetry {
namespace {

using Block = std::array<std::uint32_t, 16>;

void quarter_round(Block& x, std::size_t a, std::size_t b, std::size_t c, std::size_t d) noexcept {
  x[a] += x[b];
  x[d] = std::rotl(x[d] ^ x[a], 16);
  x[c] += x[d];
  x[b] = std::rotl(x[b] ^ x[c], 12);
  x[a] += x[b];
  x[d] = std::rotl(x[d] ^ x[a], 8);
  x[c] += x[d];
  x[b] = std::rotl(x[b] ^ x[c], 7);
}

/// One block of key stream (RFC 8439 §2.3).
Block chacha20_block(const Block& state) noexcept {
  Block x = state;
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
  block_ = chacha20_block(state_);
  used_ = 0;
  // 64 bits of counter: no repetition in the life of a machine.
  if (++state_[12] == 0) ++state_[13];
}

std::uint64_t IdGenerator::next_u64() noexcept {
  if (used_ == block_.size()) refill();
  const std::uint64_t low = block_[used_];
  const std::uint64_t high = block_[used_ + 1];
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
  constexpr char kDigits[] = "0123456789abcdef";
  for (std::size_t i = 0; i < count; ++i) {
    out[2 * i] = kDigits[bytes[i] >> 4U];
    out[2 * i + 1] = kDigits[bytes[i] & 15U];
  }
}

}  // namespace merlon::telemetry
