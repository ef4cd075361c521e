#include "policy/limit_class.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>

#include "config/shown.h"

namespace merlon::policy {
namespace {

using config::Object;
using config::Reader;
using config::shown;
using config::values_of;

// All of them are looked through for a request that is of none.
constexpr std::size_t kClassesMax = 16;
constexpr std::size_t kNetworksMax = 64;
constexpr std::size_t kIdentitiesMax = 256;
constexpr std::uint32_t kBurstMax = 1'000'000;

void check_one(const LimitClassConfig& each, Reader& reader) {
  if (has_everyone(values_of(each.networks))) {
    reader.error(each.networks.front().at,
                 "these networks cover everyone: that is the limit itself");
  }
  if (each.networks.empty() && each.identities.empty()) {
    reader.error(each.at, "it does not say who belongs to this class",
                 "name `networks`, `identities` or both");
  }
}

const Object<LimitClassConfig>& schema() {
  static const auto schema =
      Object<LimitClassConfig>(
          "limit class",
          "An exception to a rate limit. Requests of the class are counted separately from all "
          "others, with its rate and burst in place of the limit's. The first class that fits "
          "applies. With both `networks` and `identities`, a request must match both.")
          .required("name", &LimitClassConfig::name, config::name(),
                    "Its name in the access log, `merlon explain` and `merlon limits`; clients do "
                    "not see it.")
          .field("networks", &LimitClassConfig::networks,
                 config::list_of(config::located(config::cidr()), 1, kNetworksMax),
                 "Networks of its clients; behind `trusted_proxies`, of the client addresses that "
                 "these report.")
          .field("identities", &LimitClassConfig::identities,
                 config::list_of(config::located(config::text(1, 256)), 1, kIdentitiesMax),
                 "Subjects that belong to it: `sub` of a token, or the subject of an API key or a "
                 "certificate. Only for a limit `per: identity`.")
          .required("rate", &LimitClassConfig::rate, config::rate(),
                    "As for the limit. Every class has one.")
          .field("burst", &LimitClassConfig::burst, config::integer(1, kBurstMax),
                 "As for the limit.")
          .mark(&LimitClassConfig::at)
          .check(check_one);
  return schema;
}

template <class T>
using Entries = std::vector<Located<T>>;

/// Whether `narrow` is part of `wide`.
bool covers(const Cidr& wide, const Cidr& narrow) { return wide.covers(narrow); }
bool covers(const std::string& a, const std::string& b) { return a == b; }

template <class T>
bool holds(const std::vector<T>& values, const T& value) {
  return std::ranges::find(values, value) != values.end();
}
bool holds(const std::vector<Cidr>& blocks, const Cidr& block) { return covered_by(block, blocks); }

/// Whether all that a list of `narrow` names is named by that of `wide`; an absent one names all.
template <class T>
bool holds_all(const Entries<T>& wide, const Entries<T>& narrow) {
  if (wide.empty()) return true;
  const std::vector<T> values = values_of(wide);
  return !narrow.empty() &&
         std::ranges::all_of(narrow, [&](const auto& each) { return holds(values, *each); });
}

std::string text_of(const Cidr& network) { return shown(network.to_string()); }
std::string text_of(const std::string& identity) { return shown(identity); }

/// Whether another entry names all of entry `i`; of two that are the same, the later one is too
/// much.
template <class T>
bool is_named_twice(const Entries<T>& entries, std::size_t i) {
  for (std::size_t j = 0; j < entries.size(); ++j) {
    if (i == j || !covers(*entries[j], *entries[i])) continue;
    if (j < i || !covers(*entries[i], *entries[j])) return true;
  }
  return false;
}

/// Entries of one list of `classes[at]` that come to nothing: named twice there, or taken by the
/// classes before. `list` is that list, `other` the other one.
template <class T, class U>
void check_entries(const std::vector<LimitClassConfig>& classes, std::size_t at,
                   Entries<T> LimitClassConfig::* list, Entries<U> LimitClassConfig::* other,
                   Reader& reader) {
  const Entries<T>& entries = classes[at].*list;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const auto& entry = entries[i];
    if (is_named_twice(entries, i)) {
      reader.error(entry.at, fmt::format("{} is already listed in this class", text_of(*entry)));
      continue;
    }
    std::vector<T> taken;
    for (std::size_t k = 0; k < at; ++k) {
      const LimitClassConfig& before = classes[k];
      if (!holds_all(before.*other, classes[at].*other)) continue;
      std::ranges::copy(values_of(before.*list), std::back_inserter(taken));
      if (!(before.*list).empty() && !holds(taken, *entry)) continue;
      reader.error(entry.at,
                   fmt::format("{} belongs to the class {} already, which comes first",
                               text_of(*entry), shown(before.name)),
                   fmt::format("the other is at {}", before.at.to_string()));
      break;
    }
  }
}

}  // namespace

config::Type<std::vector<LimitClassConfig>> limit_classes_type() {
  return config::named_list(config::object(schema()), 1, kClassesMax);
}

void check_limit_classes(const std::vector<LimitClassConfig>& classes, Reader& reader) {
  for (std::size_t at = 0; at < classes.size(); ++at) {
    check_entries(classes, at, &LimitClassConfig::networks, &LimitClassConfig::identities, reader);
    check_entries(classes, at, &LimitClassConfig::identities, &LimitClassConfig::networks, reader);
  }
}

bool same_members(const LimitClassConfig& a, const LimitClassConfig& b) {
  return a.networks.empty() == b.networks.empty() && a.identities.empty() == b.identities.empty() &&
         holds_all(a.networks, b.networks) && holds_all(b.networks, a.networks) &&
         holds_all(a.identities, b.identities) && holds_all(b.identities, a.identities);
}

LimitClass::LimitClass(const LimitClassConfig& config) : name_(config.name), at_(config.at) {
  for (const auto& network : config.networks) networks_.push_back(*network);
  for (const auto& identity : config.identities) identities_.push_back(*identity);
  std::ranges::sort(identities_);
}

bool LimitClass::has(const Context& context) const noexcept {
  if (!networks_.empty() && !contains_any(networks_, context.reading.client.address)) return false;
  if (identities_.empty()) return true;
  if (context.identity == nullptr) return false;
  const std::string_view subject = context.identity->subject();
  return std::binary_search(identities_.begin(), identities_.end(), subject, std::less<>());
}

}  // namespace merlon::policy
