#include "http/field_id.h"

#include <array>
#include <cstring>

#include "base/ascii.h"

namespace merlon::http {
namespace {

// NOLINTBEGIN(readability-identifier-naming): letters of the table below.
constexpr std::uint8_t O = static_cast<std::uint8_t>(FieldTrait::kOnceInRequest);
constexpr std::uint8_t R = static_cast<std::uint8_t>(FieldTrait::kOnceInResponse);
constexpr std::uint8_t H = static_cast<std::uint8_t>(FieldTrait::kHopByHop);
constexpr std::uint8_t N = static_cast<std::uint8_t>(FieldTrait::kNeverNominated);
constexpr std::uint8_t T = static_cast<std::uint8_t>(FieldTrait::kNeverInTrailers);
constexpr std::uint8_t S = static_cast<std::uint8_t>(FieldTrait::kStrippedFromClients);
// NOLINTEND(readability-identifier-naming)

struct Known {
  std::string_view name;
  std::uint8_t traits;
};
constexpr std::array<Known, kFieldIdCount> kKnown{{
    {"", 0},
#define MERLON_FIELD(id, name, traits) {name, (traits)},
#include "http/field_ids.def"
#undef MERLON_FIELD
}};

// The lists spread over four times as many slots, so that a lookup rarely probes twice.
constexpr std::size_t kSlots = 1024;
static_assert(kFieldIdCount < kSlots / 4);

/// Length and four characters tell almost all of the names apart.
constexpr std::size_t slot_of(std::string_view name) noexcept {
  const auto at = [&](std::size_t i) {
    return static_cast<std::size_t>(static_cast<unsigned char>(name[i]) | 0x20U);
  };
  const std::size_t size = name.size();
  const std::size_t mix =
      size * 131 + at(0) * 7 + at(size / 2) * 613 + at(size - 1) * 37 + at(size * 3 / 4) * 1543;
  return (mix ^ (mix >> 9)) % kSlots;
}

constexpr bool is_family(std::string_view name) noexcept { return name.ends_with('*'); }

constexpr auto kTable = [] {
  std::array<std::uint8_t, kSlots> table{};
  for (std::size_t id = 1; id < kFieldIdCount; ++id) {
    if (is_family(kKnown[id].name)) continue;
    std::size_t slot = slot_of(kKnown[id].name);
    while (table[slot] != 0) slot = (slot + 1) % kSlots;
    table[slot] = static_cast<std::uint8_t>(id);
  }
  return table;
}();

/// Eight characters of both at once, letters lowered by setting bit 5. That also equates control
/// characters with digits and '-', so names with control characters are refused by `controls`.
struct Difference {
  std::uint64_t bits = 0;
  std::uint64_t controls = 0;

  template <class Word>
  void add(const char* a, const char* b) noexcept {
    constexpr auto kBit5 = static_cast<Word>(0x2020202020202020ULL);
    constexpr auto kBit7 = static_cast<Word>(0x8080808080808080ULL);
    Word wa;
    Word wb;
    std::memcpy(&wa, a, sizeof(Word));
    std::memcpy(&wb, b, sizeof(Word));
    bits |= static_cast<Word>(static_cast<Word>(wa | kBit5) ^ static_cast<Word>(wb | kBit5));
    controls |= static_cast<Word>(static_cast<Word>(wa - kBit5) & static_cast<Word>(~wa) & kBit7);
  }
  [[nodiscard]] bool none() const noexcept { return (bits | controls) == 0; }
};

/// Compares with a known name, which has letters, digits and '-' only. Sizes are equal.
bool equals_known(std::string_view name, std::string_view known) noexcept {
  const char* a = name.data();
  const char* b = known.data();
  const std::size_t size = known.size();
  Difference difference;
  if (size >= 8) {
    for (std::size_t i = 0; i + 8 <= size; i += 8) difference.add<std::uint64_t>(a + i, b + i);
    difference.add<std::uint64_t>(a + size - 8, b + size - 8);
  } else if (size >= 4) {
    difference.add<std::uint32_t>(a, b);
    difference.add<std::uint32_t>(a + size - 4, b + size - 4);
  } else {
    return ascii::iequals(name, known);
  }
  return difference.none();
}

constexpr std::size_t kFamilyCount = [] {
  std::size_t count = 0;
  for (const Known& known : kKnown) count += is_family(known.name) ? 1U : 0U;
  return count;
}();

constexpr auto kFamilies = [] {
  std::array<std::uint8_t, kFamilyCount> families{};
  std::size_t count = 0;
  for (std::size_t id = 1; id < kFieldIdCount; ++id) {
    if (is_family(kKnown[id].name)) families[count++] = static_cast<std::uint8_t>(id);
  }
  return families;
}();

constexpr char fold(char c) noexcept { return c == '_' || c == '.' ? '-' : ascii::lower(c); }

}  // namespace

FieldId single_field_id(std::string_view name) noexcept {
  if (name.empty()) return FieldId::kOther;
  for (std::size_t slot = slot_of(name); kTable[slot] != 0; slot = (slot + 1) % kSlots) {
    const std::string_view known = kKnown[kTable[slot]].name;
    if (known.size() == name.size() && equals_known(name, known)) {
      return static_cast<FieldId>(kTable[slot]);
    }
  }
  return FieldId::kOther;
}

FieldId field_family(std::string_view name) noexcept {
  // Families all begin with "X-": other names need not be compared.
  if (name.size() < 4 || (name[0] | 0x20) != 'x' || name[1] != '-') return FieldId::kOther;
  for (const std::uint8_t id : kFamilies) {
    const std::string_view prefix = kKnown[id].name.substr(0, kKnown[id].name.size() - 1);
    if (name.size() < prefix.size()) continue;
    if (ascii::iequals(name.substr(0, prefix.size()), prefix)) return static_cast<FieldId>(id);
  }
  return FieldId::kOther;
}

FieldId field_id(std::string_view name) noexcept {
  const FieldId single = single_field_id(name);
  return single != FieldId::kOther ? single : field_family(name);
}

std::string_view field_name(FieldId id) noexcept {
  return id < FieldId::kCount ? kKnown[static_cast<std::size_t>(id)].name : std::string_view{};
}

std::string_view lower_field_name(FieldId id) noexcept {
  struct Lower {
    std::array<char, kAliasNameBytesMax> bytes{};
    std::size_t size = 0;
  };
  static constexpr auto kLower = [] {
    std::array<Lower, kFieldIdCount> lower{};
    for (std::size_t i = 0; i < kFieldIdCount; ++i) {
      if (is_family(kKnown[i].name)) continue;
      for (const char c : kKnown[i].name) lower[i].bytes[lower[i].size++] = ascii::lower(c);
    }
    return lower;
  }();
  if (id >= FieldId::kCount) return {};
  const Lower& name = kLower[static_cast<std::size_t>(id)];
  return {name.bytes.data(), name.size};
}

bool has_trait(FieldId id, FieldTrait trait) noexcept {
  return id < FieldId::kCount &&
         (kKnown[static_cast<std::size_t>(id)].traits & static_cast<std::uint8_t>(trait)) != 0;
}

FieldId aliased_field(std::string_view name) noexcept {
  if (name.size() > kAliasNameBytesMax) {
    // Too long for any single name, but not for a member of a family.
    name = name.substr(0, kAliasNameBytesMax);
  }
  std::array<char, kAliasNameBytesMax> folded;
  bool differs = false;
  for (std::size_t i = 0; i < name.size(); ++i) {
    folded[i] = fold(name[i]);
    differs = differs || name[i] == '_' || name[i] == '.';
  }
  return differs ? field_id({folded.data(), name.size()}) : FieldId::kOther;
}

bool same_when_aliased(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (fold(a[i]) != fold(b[i])) return false;
  }
  return true;
}

}  // namespace merlon::http
