#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/schema.h"
#include "policy/policy.h"

namespace merlon::policy {

using config::Located;

/// One entry of `classes` as it is written: an exception to a limit.
struct LimitClassConfig {
  std::string name;
  std::vector<Located<Cidr>> networks;
  std::vector<Located<std::string>> identities;
  Located<Rate> rate;
  Located<std::uint32_t> burst{.value = 1, .at = {}};
  Mark at;
};

[[nodiscard]] config::Type<std::vector<LimitClassConfig>> limit_classes_type();

/// Reports classes, and entries of them, that no request can be of since one before takes it.
void check_limit_classes(const std::vector<LimitClassConfig>& classes, config::Reader& reader);

/// Whether both are of the same requests.
[[nodiscard]] bool same_members(const LimitClassConfig& a, const LimitClassConfig& b);

/// Who is of a class, compiled: at most 64 networks and 256 identities. Immutable.
class LimitClass {
 public:
  explicit LimitClass(const LimitClassConfig& config);

  /// True when the client is in one of the networks and the identity's subject is listed, as far
  /// as the class names any. Credentials without a subject are of no class by identity: what a
  /// client is called must not stand for a subject of the same name.
  [[nodiscard]] bool has(const Context& context) const noexcept;

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const Mark& at() const noexcept { return at_; }

 private:
  std::string name_;
  std::vector<Cidr> networks_;
  std::vector<std::string> identities_;  ///< sorted
  Mark at_;
};

/// The first of `classes` that has the request, each with its LimitClass as `who`; else nullptr.
template <class C>
[[nodiscard]] const C* class_for(const std::vector<C>& classes, const Context& context) noexcept {
  for (const C& each : classes) {
    if (each.who.has(context)) return &each;
  }
  return nullptr;
}

}  // namespace merlon::policy
