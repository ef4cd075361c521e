#include "http/message.h"

#include <array>

namespace merlon::http {
namespace {
constexpr std::array<std::string_view, 9> kMethods = {
    "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"};
}  // namespace

Method method_of(std::string_view token) noexcept {
  for (std::size_t i = 0; i < kMethods.size(); ++i) {
    if (token == kMethods[i]) return static_cast<Method>(i);
  }
  return Method::kOther;
}

std::string_view method_name(Method method) noexcept {
  const auto i = static_cast<std::size_t>(method);
  return i < kMethods.size() ? kMethods[i] : std::string_view{};
}

bool is_safe(Method method) noexcept {
  return method == Method::kGet || method == Method::kHead || method == Method::kOptions ||
         method == Method::kTrace;
}

bool is_idempotent(Method method) noexcept {
  return is_safe(method) || method == Method::kPut || method == Method::kDelete;
}

void drop_hop_by_hop(Fields& fields) noexcept {
  fields.drop(FieldTrait::kHopByHop);
  fields.drop(FieldId::kContentLength);
}

void drop_client_claims(Fields& fields) noexcept { fields.drop(FieldTrait::kStrippedFromClients); }

}  // namespace merlon::http
