#include "base/base64.h"

#include <gtest/gtest.h>

namespace merlon {
namespace {

// RFC 4648 §10.
TEST(Base64, PadsAsTheStandardShows) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foo"), "Zm9v");
  EXPECT_EQ(base64("foob"), "Zm9vYg==");
  EXPECT_EQ(base64("fooba"), "Zm9vYmE=");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
}

TEST(Base64, TakesEveryByte) {
  EXPECT_EQ(base64(std::string_view("\xff\xfe\x00\xfb", 4)), "//4A+w==");
}

}  // namespace
}  // namespace merlon
