#include "gateway/plan.h"

#include <algorithm>

#include "tls/client_context.h"
#include "tls/server_context.h"

namespace merlon::gateway {

Plan::Plan() = default;
Plan::~Plan() = default;

bool Route::allows(http::Method method, std::string_view text) const noexcept {
  return std::ranges::any_of(methods, [&](const std::string& listed) {
    return listed == text || (method == http::Method::kHead && listed == "GET");
  });
}

}  // namespace merlon::gateway
