#include "state/keyed_hash.h"

#include <sys/random.h>

#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace merlon::state {
namespace {

struct SipState {
  std::uint64_t a;
  std::uint64_t b;
  std::uint64_t c;
  std::uint64_t d;

  void round() noexcept {
    a += b;
    b = std::rotl(b, 13) ^ a;
    a = std::rotl(a, 32);
    c += d;
    d = std::rotl(d, 16) ^ c;
    a += d;
    d = std::rotl(d, 21) ^ a;
    c += b;
    b = std::rotl(b, 17) ^ c;
    c = std::rotl(c, 32);
  }
};

/// Up to 8 bytes, least significant first.
std::uint64_t load_le(const char* bytes, std::size_t size) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, bytes, size);
  if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
  return word;
}

}  // namespace

KeyedHash::KeyedHash() {
  std::uint64_t key[2];
  ssize_t got = 0;
  do {
    got = ::getrandom(key, sizeof key, 0);
  } while (got < 0 && errno == EINTR);
  if (got != static_cast<ssize_t>(sizeof key)) std::abort();
  k0_ = key[0];
  k1_ = key[1];
}

std::uint64_t KeyedHash::operator()(std::string_view bytes) const noexcept {
  SipState s{.a = k0_ ^ 0x736f6d6570736575ULL,
             .b = k1_ ^ 0x646f72616e646f6dULL,
             .c = k0_ ^ 0x6c7967656e657261ULL,
             .d = k1_ ^ 0x7465646279746573ULL};
  const std::size_t whole = bytes.size() & ~std::size_t{7};
  for (std::size_t i = 0; i < whole; i += 8) {
    const std::uint64_t word = load_le(bytes.data() + i, 8);
    s.d ^= word;
    s.round();
    s.a ^= word;
  }
  const std::uint64_t last = (static_cast<std::uint64_t>(bytes.size()) << 56) |
                             load_le(bytes.data() + whole, bytes.size() - whole);
  s.d ^= last;
  s.round();
  s.a ^= last;
  s.c ^= 0xff;
  s.round();
  s.round();
  s.round();
  return s.a ^ s.b ^ s.c ^ s.d;
}

}  // namespace merlon::state
