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

TEST(Door, HoldsForTrailersToo) {
  Route route;
  route.remove_headers = {"x-secret"};
  route.set_headers = {{.name = "X-Tier", .value = "gold"}};
  http::Fields sent;
  for (const char* name : {"grpc-status", "X-SECRET", "x-cache", "Server", "X-Request-Id",
                           "Access-Control-Allow-Origin", "x-tier", "x-sum"})
    ASSERT_TRUE(sent.add(name, "v"));
  std::vector<http::Field> lines;
  for (const http::Field& line : sent) lines.push_back(line);
  std::span<const http::Field> trailers(lines);
  std::vector<http::Field> kept;
  dress_trailers(trailers, route, kept);
  ASSERT_EQ(trailers.size(), 2U);
  EXPECT_EQ(trailers[0].name, "grpc-status");
  EXPECT_EQ(trailers[1].name, "x-sum");
}

}  // namespace
}  // namespace merlon::gateway
