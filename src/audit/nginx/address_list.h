#pragma once

#include <string_view>

#include "audit/nginx/model.h"

/// What the allow and deny of a level come to.
namespace merlon::audit::nginx {

/// The families of addresses, one bit each. nginx holds "0.0.0.0/0" against IPv4 alone.
enum AddressFamily : unsigned { kIpv4 = 1U << 0, kIpv6 = 1U << 1 };

/// The families that an allow or deny of `addresses` takes in as a whole; 0: it names some
/// addresses only.
[[nodiscard]] unsigned whole_families(std::string_view addresses) noexcept;

/// The families that an allow of `addresses` opens, though it may name a part of them: where a half
/// of the Internet is let in, so is the other.
[[nodiscard]] unsigned open_families(std::string_view addresses) noexcept;

/// What happens to clients whose address a list does not name.
struct ListEnd {
  const Directive* open = nullptr;    ///< the allow that lets all of a family in
  const Directive* closed = nullptr;  ///< the deny with which nobody is let in any more
  const Directive* half = nullptr;    ///< a deny for all of one family, where another gets in
};
/// The end of the list that stands in `level`, for clients of the server of `scope`: it counts
/// which families its sockets take. Of sockets that are not known, any family stands for all.
[[nodiscard]] ListEnd end_of_list(const Scope& level, const Scope& scope);

/// A list of addresses that does what it says: it ends with a deny for everyone, or each allow is
/// an exception to a deny after it, in a list of those that are kept out. Any other allow does
/// nothing.
[[nodiscard]] bool closes_list(const Scope& scope);

/// The level whose list is in force; nullptr when there is none.
[[nodiscard]] const Scope* list_in_force(const Scope& scope) noexcept;

}  // namespace merlon::audit::nginx
