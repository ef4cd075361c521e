#include "state/entry_hash.h"

#include <array>
#include <cstring>

namespace merlon::state {
namespace {

constexpr std::size_t kNameBytesMax = 256;  // longer ones are hashed to start with

}  // namespace

std::uint64_t scope_of(std::string_view identity) noexcept {
  constexpr KeyedHash kFixed(0x6d65726c6f6e206cULL, 0x696d69742073636fULL);
  return kFixed(identity);
}

std::uint64_t entry_hash(const KeyedHash& hash, std::uint64_t scope,
                         const IpAddress& block) noexcept {
  // The last byte tells the families apart.
  std::array<char, sizeof scope + 17> input;
  std::memcpy(input.data(), &scope, sizeof scope);
  std::memcpy(input.data() + sizeof scope, block.bytes().data(), 16);
  input.back() = block.is_v6() ? 6 : 4;
  return hash({input.data(), input.size()});
}

std::uint64_t entry_hash(const KeyedHash& hash, std::uint64_t scope,
                         std::string_view name) noexcept {
  std::array<char, sizeof scope + 1 + kNameBytesMax> input;
  std::memcpy(input.data(), &scope, sizeof scope);
  std::uint64_t digest = 0;
  const bool fits = name.size() <= kNameBytesMax;
  if (!fits) {
    digest = hash(name);
    name = {reinterpret_cast<const char*>(&digest), sizeof digest};
  }
  // A name of 8 bytes must not be able to stand for the hash of a long one.
  input[sizeof scope] = fits ? 0 : 1;
  if (!name.empty()) std::memcpy(input.data() + sizeof scope + 1, name.data(), name.size());
  return hash({input.data(), sizeof scope + 1 + name.size()});
}

}  // namespace merlon::state
