#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "audit/nginx/syntax.h"

namespace merlon::audit::nginx {

/// What is known of one directive in some contexts (directives.def).
struct Known {
  std::string_view name;
  std::uint32_t contexts = kNowhere;
  std::uint8_t args_min = 0;
  std::uint8_t args_max = 0;  ///< 255: no upper bound
  bool takes_block = false;
  char slot = '-';          ///< kind of value, see directives.def
  std::string_view values;  ///< of an enumeration, separated by spaces
  bool third_party = false;
};

/// Every row for `name`; empty when the name is not known.
[[nodiscard]] std::span<const Known> lookup(std::string_view name) noexcept;
[[nodiscard]] bool is_known(std::string_view name) noexcept;
/// True when some row of `name` takes `count` arguments, or the name is not known.
[[nodiscard]] bool takes_arguments(std::string_view name, std::size_t count) noexcept;
/// The context of the body of block `directive` that stands in `outer`.
[[nodiscard]] std::uint32_t context_inside(std::uint32_t outer,
                                           const Directive& directive) noexcept;
/// The known name nearest to `name`, or "".
[[nodiscard]] std::string_view nearest_directive(std::string_view name);

/// The context in which the statements of a text without its frame make sense: kMain for a whole
/// configuration, kHttp for server blocks, kServer for locations, kLocation for a snippet of
/// settings; kNowhere when too little of it is nginx's.
[[nodiscard]] std::uint32_t guess_frame(const Tree& tree);

/// Judges every directive as `nginx -t` would: place, number of arguments, block or not, flags,
/// numbers, sizes, times, duplicates. Sets `known`; adds to `tree.problems`; collects the names
/// that are not known.
void check_directives(Tree& tree, std::vector<std::string_view>& unknown);

/// nginx's sizes ("8k", "1m") and times ("60s", "1h 30m", "500ms"; a bare number is seconds).
/// False when `text` is neither.
bool parse_size(std::string_view text, std::uint64_t& bytes) noexcept;
bool parse_time(std::string_view text, std::uint64_t& milliseconds) noexcept;

}  // namespace merlon::audit::nginx
