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

TEST(Base64, IsReadInEitherAlphabetPaddedOrNot) {
  for (const char* text : {"//4A+w==", "//4A+w", "__4A-w"})
    EXPECT_EQ(base64_decode(text), std::string("\xff\xfe\x00\xfb", 4)) << text;
  EXPECT_EQ(base64_decode(""), "");
  EXPECT_EQ(base64_decode("a b"), std::nullopt);
  EXPECT_EQ(base64_decode("Zg==Zg"), std::nullopt);
}

}  // namespace
}  // namespace merlon
