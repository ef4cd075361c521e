#include "policy/response_fields.h"

#include <gtest/gtest.h>

#include <string>

namespace merlon::policy {
namespace {

using http::FieldId;

TEST(ResponseFields, KeepsACopyOfWhatDoesNotLive) {
  ResponseFields fields;
  {
    const std::string gone = "Bearer error=\"invalid_token\"";
    ASSERT_TRUE(fields.add_copy("WWW-Authenticate", gone, FieldId::kWwwAuthenticate));
  }
  ASSERT_EQ(fields.lines().size(), 1U);
  EXPECT_EQ(fields.lines()[0].value, "Bearer error=\"invalid_token\"");
  EXPECT_TRUE(fields.contains(FieldId::kWwwAuthenticate));
  EXPECT_FALSE(fields.contains(FieldId::kAllow));
  fields.clear();
  EXPECT_TRUE(fields.lines().empty());
}

TEST(ResponseFields, RefusesWhatDoesNotFit) {
  ResponseFields fields;
  const std::string large(ResponseFields::kTextBytesMax - 1, 'x');
  EXPECT_TRUE(fields.add_copy("A", large, FieldId::kOther));
  EXPECT_FALSE(fields.add_copy("B", "yy", FieldId::kOther));
  EXPECT_TRUE(fields.add_copy("B", "y", FieldId::kOther));
  for (std::size_t i = 2; i < ResponseFields::kCapacity; ++i)
    EXPECT_TRUE(fields.add("C", "z", FieldId::kOther));
  EXPECT_FALSE(fields.add("D", "z", FieldId::kOther));
  EXPECT_EQ(fields.lines().size(), ResponseFields::kCapacity);
}

}  // namespace
}  // namespace merlon::policy
