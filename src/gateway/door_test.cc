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

struct LocationCase {
  const char* strip;
  const char* add;
  const char* given;
  const char* sent;  ///< "": it stays as it is
};

class RewrittenLocation : public testing::TestWithParam<LocationCase> {};

TEST_P(RewrittenLocation, IsThePlaceSeenFromOutside) {
  Route route;
  route.strip_prefix = GetParam().strip;
  route.add_prefix = GetParam().add;
  EXPECT_EQ(rewritten_location(route, GetParam().given, "a.test"), GetParam().sent)
      << GetParam().given;
}

const LocationCase kLocations[] = {
    {"", "", "/x", ""},
    {"/api", "", "/x", "/api/x"},
    {"/api", "", "/x?a=/b#c", "/api/x?a=/b#c"},
    {"/api", "/v2", "/v2/x", "/api/x"},
    {"/api", "/v2", "/v2", "/api"},
    {"/api", "/v2", "/v20/x", ""},
    {"/api", "/v2", "/other", ""},
    {"", "/v2", "/v2/x", "/x"},
    {"", "/v2", "/v2", "/"},
    // An empty path would be the client's own.
    {"", "/v2", "/v2?x", "/?x"},
    {"", "/v2", "/v2#f", "/#f"},
    // A path of the upstream's must not become another host.
    {"", "/v2", "/v2//evil.test/a", "/.//evil.test/a"},
    {"", "/v2", "http://a.test/v2//evil.test", "/.//evil.test"},
    {"", "/v2", "/v2/\\evil.test", "/./\\evil.test"},
    {"", "/v2", "/v2/\t/evil.test", "/./\t/evil.test"},
    // Absolute ones are its own where they name its host.
    {"/api", "", "http://a.test/x", "/api/x"},
    {"/api", "", "HTTP://A.test/x", "/api/x"},
    {"/api", "", "https://a.test:443/x", "/api/x"},
    {"/api", "", "http://a.test:80", "/api/"},
    {"/api", "", "http://a.test", "/api/"},
    {"/api", "", "http://a.test?q", "/api?q"},
    {"/api", "", "//a.test/x", "/api/x"},
    {"/api", "", "http://a.test:8080/x", ""},
    {"/api", "", "http://a.test:443/x", ""},
    {"/api", "", "http://a.test.evil.test/x", ""},
    {"/api", "", "http://b.test/x", ""},
    {"/api", "", "//b.test/x", ""},
    {"/api", "", "ftp://a.test/x", ""},
    {"/api", "", "javascript://a.test/%0aalert(1)", ""},
    {"/api", "", "x", ""},
};

INSTANTIATE_TEST_SUITE_P(Door, RewrittenLocation, testing::ValuesIn(kLocations));

}  // namespace
}  // namespace merlon::gateway
