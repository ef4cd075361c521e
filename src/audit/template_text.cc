#include "audit/template_text.h"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace merlon::audit {

std::string template_hint(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kMarks = {
      {{"<%", "ERB"}, {"{%", "Jinja"}, {"{{", "Go or Jinja"}}};
  for (const auto& [mark, language] : kMarks) {
    if (text.find(mark) == std::string_view::npos) continue;
    return fmt::format("it is a template ({}, by its \"{}\"): render it, then audit what comes out",
                       language, mark);
  }
  return {};
}

}  // namespace merlon::audit
