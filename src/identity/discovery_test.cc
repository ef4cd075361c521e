#include "identity/discovery.h"

#include <gtest/gtest.h>

namespace merlon::identity {
namespace {

TEST(MetadataUrls, ArePutTogetherAsTheStandardsSay) {
  const auto plain = metadata_urls("https://id.example.com");
  ASSERT_EQ(plain.size(), 2U);
  EXPECT_EQ(plain[0].path, "/.well-known/openid-configuration");
  EXPECT_EQ(plain[1].path, "/.well-known/oauth-authorization-server");
  const auto deep = metadata_urls("https://id.example.com:8443/realms/a/");
  ASSERT_EQ(deep.size(), 2U);
  EXPECT_EQ(deep[0].path, "/realms/a/.well-known/openid-configuration");
  EXPECT_EQ(deep[1].path, "/.well-known/oauth-authorization-server/realms/a");
  EXPECT_EQ(deep[1].port, 8443);
  EXPECT_TRUE(metadata_urls("http://id.example.com").empty());
  EXPECT_TRUE(metadata_urls("https://id.example.com/?a").empty());
}

constexpr std::string_view kIssuer = "https://id.example.com";

TEST(Metadata, NamesTheKeysOfItsIssuer) {
  const auto url = read_metadata(
      R"({"issuer":"https://id.example.com","jwks_uri":"https://keys.example.net/k"})", kIssuer);
  ASSERT_TRUE(url.has_value());
  EXPECT_EQ(url->host, "keys.example.net");
}

TEST(Metadata, WhatCouldDeceiveIsRefused) {
  for (const std::string_view text : {
           std::string_view(""),
           std::string_view("[]"),
           std::string_view(R"({"jwks_uri":"https://a.example/"})"),
           std::string_view(R"({"issuer":"https://id.example.com"})"),
           // RFC 8414 §3.3: somebody speaks for another.
           std::string_view(R"({"issuer":"https://evil.example","jwks_uri":"https://a.example/"})"),
           std::string_view(
               R"({"issuer":"https://id.example.com/","jwks_uri":"https://a.example/"})"),
           std::string_view(
               R"({"issuer":"https://id.example.com","jwks_uri":"http://a.example/"})"),
           std::string_view(
               R"({"issuer":"https://id.example.com","jwks_uri":["https://a.example/"]})"),
           std::string_view(R"({"issuer":"https://evil.example","issuer":"https://id.example.com",)"
                            R"("jwks_uri":"https://a.example/"})"),
       }) {
    EXPECT_FALSE(read_metadata(text, kIssuer).has_value()) << text;
  }
}

seconds fresh(const char* cache_control, const char* age) {
  return freshness({.cache_control = cache_control, .age = age});
}

TEST(Freshness, IsWhatTheIssuerSaysWithinBounds) {
  EXPECT_EQ(fresh("max-age=600", ""), seconds{600});
  EXPECT_EQ(fresh("public, MAX-AGE=600 , must-revalidate", ""), seconds{600});
  EXPECT_EQ(fresh("max-age=600", "100"), seconds{500});
  EXPECT_EQ(fresh("max-age=600", "700"), kFreshMin);
  EXPECT_EQ(fresh("max-age=600", "-5"), seconds{600});
  EXPECT_EQ(fresh("", ""), kFreshDefault);
  EXPECT_EQ(fresh("max-age=x", ""), kFreshDefault);
  EXPECT_EQ(fresh("max-age=0", ""), kFreshMin);
  EXPECT_EQ(fresh("no-store", ""), kFreshMin);
  EXPECT_EQ(fresh("max-age=600, no-cache", ""), kFreshMin);
  EXPECT_EQ(fresh("max-age=99999999999999999999", ""), kFreshDefault) << "no number that fits";
  EXPECT_EQ(fresh("max-age=9223372036854775807", ""), kFreshMax);
}

TEST(Freshness, GoesByExpiresWithoutMaxAge) {
  constexpr const char* kDate = "Sun, 06 Nov 1994 08:49:37 GMT";
  const auto until = [](const char* expires, const char* date, const char* cache_control = "") {
    return freshness({.cache_control = cache_control, .expires = expires, .date = date});
  };
  EXPECT_EQ(until("Sun, 06 Nov 1994 09:49:37 GMT", kDate), seconds{3600});
  EXPECT_EQ(until("Sun, 06 Nov 1994 09:49:37 GMT", kDate, "public"), seconds{3600});
  EXPECT_EQ(until("Sun, 06 Nov 1994 09:49:37 GMT", kDate, "max-age=60"), seconds{60});
  EXPECT_EQ(until("Tue, 06 Dec 1994 09:49:37 GMT", kDate), kFreshMax);
  EXPECT_EQ(until("Sun, 06 Nov 1994 08:00:00 GMT", kDate), kFreshMin);
  EXPECT_EQ(until("0", kDate), kFreshMin) << "RFC 9111 §5.3";
  EXPECT_EQ(until("Sun, 06 Nox 1994 09:49:37 GMT", kDate), kFreshMin);
  EXPECT_EQ(until("Sun, 06 Nov 1994 09:49:37 GMT", ""), kFreshDefault);
}

}  // namespace
}  // namespace merlon::identity
