#pragma once

#include <algorithm>
#include <string_view>
#include <vector>

#include "audit/nginx/rules.h"
#include "audit/nginx/variables.h"

namespace merlon::audit::nginx {

/// The query argument of `text` that carries a credential, without "$"; "" when none does.
inline std::string_view query_credential_in(std::string_view text) {
  constexpr std::string_view kArguments[] = {
      "arg_token",      "arg_access_token", "arg_api_key",  "arg_apikey",
      "arg_jwt",        "arg_password",     "arg_id_token", "arg_secret",
      "arg_auth_token", "arg_auth",         "arg_passwd",   "arg_session_token"};
  for (const VariableUse& use : variables_in(text)) {
    if (std::ranges::find(kArguments, use.name) != std::end(kArguments)) return use.name;
  }
  return {};
}

/// The directives that take a credential from the query: they check it, or hand it on.
[[nodiscard]] std::vector<const Directive*> query_credential_uses(const Inspection& inspection);

/// True when an error_page answers whom the scope refuses with what it protects.
[[nodiscard]] bool answers_the_refused(const Inspection& inspection, const Scope& scope);

}  // namespace merlon::audit::nginx
