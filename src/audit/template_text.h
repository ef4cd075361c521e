#pragma once

#include <string>
#include <string_view>

namespace merlon::audit {

/// What to say of a text that is no configuration yet but a template of one (ERB, Jinja, Go and
/// their like); "" when nothing in it looks like that. Comments count: a template's own are not
/// known here.
[[nodiscard]] std::string template_hint(std::string_view text);

}  // namespace merlon::audit
