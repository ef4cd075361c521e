#include "identity/algorithm.h"

#include <array>

namespace merlon::identity {
namespace {

struct Row {
  std::string_view name;
  KeyType type;
};
constexpr std::array<Row, kAlgorithmCount> kRows = {{
    {"RS256", KeyType::kRsa},
    {"RS384", KeyType::kRsa},
    {"RS512", KeyType::kRsa},
    {"PS256", KeyType::kRsa},
    {"PS384", KeyType::kRsa},
    {"PS512", KeyType::kRsa},
    {"ES256", KeyType::kP256},
    {"ES384", KeyType::kP384},
    {"ES512", KeyType::kP521},
    {"EdDSA", KeyType::kEd25519},
}};

}  // namespace

std::string_view name_of(Algorithm algorithm) noexcept {
  return kRows[static_cast<std::size_t>(algorithm)].name;
}

KeyType key_type_of(Algorithm algorithm) noexcept {
  return kRows[static_cast<std::size_t>(algorithm)].type;
}

std::optional<Algorithm> algorithm_named(std::string_view name) noexcept {
  for (std::size_t i = 0; i < kRows.size(); ++i) {
    if (kRows[i].name == name) return static_cast<Algorithm>(i);
  }
  return std::nullopt;
}

}  // namespace merlon::identity
