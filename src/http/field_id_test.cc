#include "http/field_id.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "base/ascii.h"
#include "http/fields.h"
#include "http/message.h"

namespace merlon::http {
namespace {

TEST(FieldId, EveryNameIsFoundInAnyCase) {
  for (std::size_t i = 1; i < kFieldIdCount; ++i) {
    const auto id = static_cast<FieldId>(i);
    std::string name(field_name(id));
    ASSERT_FALSE(name.empty());
    if (name.ends_with('*')) name.replace(name.size() - 1, 1, "Anything");
    EXPECT_EQ(field_id(name), id) << name;
    std::ranges::transform(name, name.begin(), ascii::lower);
    EXPECT_EQ(field_id(name), id) << name;
    for (char& c : name) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
    EXPECT_EQ(field_id(name), id) << name;
  }
}

TEST(FieldId, EveryNameHasALowerForm) {
  for (std::size_t i = 0; i < kFieldIdCount; ++i) {
    const auto id = static_cast<FieldId>(i);
    std::string name(field_name(id));
    std::ranges::transform(name, name.begin(), ascii::lower);
    EXPECT_EQ(lower_field_name(id), name.ends_with('*') ? "" : name);
  }
  EXPECT_EQ(lower_field_name(FieldId::kCount), "");
}

TEST(FieldId, NearMissesAreOther) {
  const std::string_view names[] = {"",
                                    "x",
                                    "Hos",
                                    "Hosts",
                                    "H0st",
                                    "Hos\x14",
                                    "Content\rLength",
                                    "Content-Lengtj",
                                    "Content_Length",
                                    "X-",
                                    "TF",
                                    "X-Forwarde",
                                    "XForwarded-For"};
  for (const std::string_view name : names) EXPECT_EQ(field_id(name), FieldId::kOther) << name;
}

TEST(FieldId, AliasesAreWhatCgiWouldMakeOfThem) {
  EXPECT_EQ(aliased_field("X_Forwarded_For"), FieldId::kXForwardedFor);
  EXPECT_EQ(aliased_field("x.forwarded-for"), FieldId::kXForwardedFor);
  EXPECT_EQ(aliased_field("X_Forwarded_" + std::string(200, 'a')), FieldId::kXForwardedOther);
  EXPECT_EQ(aliased_field("X-Forwarded-For"), FieldId::kOther);
  EXPECT_EQ(aliased_field("X_Tenant"), FieldId::kOther);
  EXPECT_EQ(aliased_field(""), FieldId::kOther);
  EXPECT_TRUE(same_when_aliased("X_Tenant.a", "x-tenant-A"));
  EXPECT_FALSE(same_when_aliased("X_Tenant", "X-Tenants"));
  EXPECT_FALSE(same_when_aliased("X_Tenant", "X-Tenanu"));
}

TEST(FieldId, TraitsFollowTheList) {
  EXPECT_TRUE(has_trait(FieldId::kHost, FieldTrait::kOnceInRequest));
  EXPECT_FALSE(has_trait(FieldId::kHost, FieldTrait::kHopByHop));
  EXPECT_TRUE(has_trait(FieldId::kUpgrade, FieldTrait::kHopByHop));
  EXPECT_TRUE(has_trait(FieldId::kXOriginalUrl, FieldTrait::kStrippedFromClients));
  EXPECT_FALSE(has_trait(FieldId::kOther, FieldTrait::kStrippedFromClients));
}

class FieldsTest : public testing::Test {
 protected:
  void SetUp() override {
    fields_.add("Host", "a");
    fields_.add("X-Tenant", "t1");
    fields_.add("x-tenant", "t2");
    fields_.add("Connection", "close");
    fields_.add("X-Forwarded-For", "6.6.6.6");
    fields_.add("Content-Length", "5");
  }
  Fields fields_;
};

TEST_F(FieldsTest, AreFoundByIdAndByName) {
  EXPECT_EQ(fields_.value(FieldId::kHost), "a");
  EXPECT_EQ(fields_.find("HOST")->value, "a");
  EXPECT_EQ(fields_.find(FieldId::kCookie), nullptr);
  EXPECT_EQ(fields_.find("Cookie"), nullptr);
  EXPECT_EQ(fields_.count("X-TENANT"), 2U);
  EXPECT_EQ(fields_.count(FieldId::kHost), 1U);
}

TEST_F(FieldsTest, DroppedOnesAreNotSeenAgain) {
  EXPECT_EQ(fields_.drop("X-Tenant"), 2U);
  EXPECT_EQ(fields_.drop("X-Tenant"), 0U);
  EXPECT_EQ(fields_.find("X-Tenant"), nullptr);
  EXPECT_EQ(fields_.drop(FieldId::kHost), 1U);
  EXPECT_FALSE(fields_.contains(FieldId::kHost));
  EXPECT_EQ(std::distance(fields_.begin(), fields_.end()), 3);
  EXPECT_EQ(fields_.size(), 6U);
  EXPECT_TRUE(fields_[0].dropped);
}

TEST_F(FieldsTest, HopByHopAndClientClaimsGo) {
  drop_hop_by_hop(fields_);
  EXPECT_FALSE(fields_.contains(FieldId::kConnection));
  EXPECT_FALSE(fields_.contains(FieldId::kContentLength));
  EXPECT_TRUE(fields_.contains(FieldId::kXForwardedFor));
  drop_client_claims(fields_);
  EXPECT_FALSE(fields_.contains(FieldId::kXForwardedFor));
  EXPECT_TRUE(fields_.contains(FieldId::kHost));
}

// A41, A42, A46: what a client may never say to an upstream.
TEST(ClientClaims, AreDroppedWhoeverInventedThem) {
  const std::string_view names[] = {"X-Forwarded-For",
                                    "X-Forwarded-Prefix",
                                    "X-Forwarded-Nonsense",
                                    "Forwarded",
                                    "X-Real-IP",
                                    "X-Original-URL",
                                    "X-Rewrite-URL",
                                    "X-HTTP-Method-Override",
                                    "X-HTTP-Method",
                                    "X-Method-Override",
                                    "X-Userinfo",
                                    "X-Consumer-Username",
                                    "X-Consumer-ID",
                                    "X-Access-Token",
                                    "X-Merlon-Identity-Sub",
                                    "Remote-User",
                                    "Proxy"};
  Fields fields;
  for (const std::string_view name : names) fields.add(name, "x");
  drop_client_claims(fields);
  for (const Field& field : fields) ADD_FAILURE() << field.name << " survived";
}

TEST(FieldId, WhatIsKnownIsAToken) {
  // The parser does not look at the bytes of names that are known.
  for (std::size_t i = 1; i < kFieldIdCount; ++i) {
    std::string name(field_name(static_cast<FieldId>(i)));
    for (char& c : name) {
      const char before = c;
      for (int byte = 0; byte < 256; ++byte) {
        c = static_cast<char>(byte);
        if (single_field_id(name) != FieldId::kOther) EXPECT_TRUE(ascii::is_token(name)) << name;
      }
      c = before;
    }
  }
}

TEST(Fields, RefuseMoreThanTheyHold) {
  Fields fields;
  for (std::size_t i = 0; i < Fields::kCapacity; ++i) EXPECT_TRUE(fields.add("X", "y"));
  EXPECT_FALSE(fields.add("X", "y"));
  EXPECT_EQ(fields.size(), Fields::kCapacity);
  fields.clear();
  EXPECT_EQ(fields.find("X"), nullptr);
}

TEST(Method, IsCaseSensitiveAndOpen) {
  EXPECT_EQ(method_of("GET"), Method::kGet);
  EXPECT_EQ(method_of("get"), Method::kOther);
  EXPECT_EQ(method_of("REPORT"), Method::kOther);
  for (const auto method : {Method::kGet, Method::kPut, Method::kOptions, Method::kConnect}) {
    EXPECT_EQ(method_of(method_name(method)), method);
  }
  EXPECT_EQ(method_name(Method::kOther), "");
  EXPECT_TRUE(is_safe(Method::kHead));
  EXPECT_FALSE(is_safe(Method::kPut));
  EXPECT_TRUE(is_idempotent(Method::kPut));
  EXPECT_FALSE(is_idempotent(Method::kPost));
  EXPECT_FALSE(is_idempotent(Method::kOther));
}

}  // namespace
}  // namespace merlon::http
