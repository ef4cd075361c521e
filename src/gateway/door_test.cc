#include "gateway/door.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "policy/response_fields.h"

namespace merlon::gateway {
namespace {

using http::FieldId;

TEST(Door, FindsRoomForEveryProtectionWhereAllElseIsAtItsBound) {
  http::ResponseHead head;
  for (std::size_t i = 0; i < http::Fields::kReceivedMax; ++i)
    ASSERT_TRUE(head.fields.add("X-Of-Upstream", "v"));
  Route route;
  for (std::size_t i = 0; i < kSetHeadersMax; ++i)
    route.set_headers.push_back({.name = "X-Set-" + std::to_string(i), .value = "s"});
  policy::ResponseFields policies;
  while (policies.add("WWW-Authenticate", "Bearer", FieldId::kWwwAuthenticate)) {
  }
  dress(head, {.route = &route,
               .secure = true,
               .request_id = "id",
               .date = "Sun, 06 Nov 1994 08:49:37 GMT",
               .policy_fields = policies.lines()});
  const http::Fields& fields = head.fields;
  EXPECT_EQ(fields.count("X-Of-Upstream"), http::Fields::kReceivedMax);
  EXPECT_EQ(fields.count("X-Set-15"), 1U);
  EXPECT_EQ(fields.count(FieldId::kWwwAuthenticate), policy::ResponseFields::kCapacity);
  for (const FieldId id : {FieldId::kXContentTypeOptions, FieldId::kXFrameOptions,
                           FieldId::kContentSecurityPolicy, FieldId::kReferrerPolicy,
                           FieldId::kStrictTransportSecurity, FieldId::kXRequestId, FieldId::kDate})
    EXPECT_EQ(fields.count(id), 1U) << http::field_name(id);
}

}  // namespace
}  // namespace merlon::gateway
