#pragma once

#include <functional>
#include <string_view>

#include "audit/nginx/rules.h"

namespace merlon::audit::nginx {

/// True when something of the server hands out content of its own or of an upstream.
[[nodiscard]] bool serves_content(const Server& server);

/// True when the pages of a site come with a header that `present` finds: what is answered for "/",
/// or everything where nothing is.
[[nodiscard]] bool sends_for_pages(const Inspection& in, const Server& server,
                                   const std::function<bool(const Scope&)>& present);

/// The value that a field is sent with; "" when it is not: nginx leaves empty ones out.
[[nodiscard]] std::string_view sent_value(const Scope& scope, std::string_view name);

/// Reports a header that pages come without, once for all servers that hand such out. `present`
/// tells whether what a scope answers has it.
void report_absent(Inspection& in, std::string_view rule, std::string_view message,
                   const std::function<bool(const Scope&)>& present, Level for_files,
                   Level for_proxies);

}  // namespace merlon::audit::nginx
