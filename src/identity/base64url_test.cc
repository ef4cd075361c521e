#include "identity/base64url.h"

#include <gtest/gtest.h>

#include <array>

namespace merlon::identity {
namespace {

TEST(Base64Url, DecodesWhatItEncodes) {
  std::string bytes;
  for (int i = 0; i < 300; ++i) {
    const auto text = base64url_encode(bytes);
    EXPECT_EQ(base64url_decode(text), bytes);
    bytes += static_cast<char>(i * 37);
  }
}

TEST(Base64Url, ReadsTheExamplesOfRfc7515) {
  EXPECT_EQ(base64url_decode("A-z_4ME"), std::string("\x03\xec\xff\xe0\xc1"));
  EXPECT_EQ(base64url_decode(""), std::string());
}

struct Case {
  const char* name;
  std::string_view text;
};
constexpr Case kRefused[] = {
    {"padding", "Zm8="},
    {"double_padding", "Zg=="},
    {"plain_base64_plus", "A+z_4ME"},
    {"plain_base64_slash", "A-z/4ME"},
    {"white_space", "Zm9v Zm9v"},
    {"line_end", "Zm9v\n"},
    {"nul", std::string_view("Zm9v\0", 5)},
    {"one_left_over", "Zm9vZ"},
    {"spare_bits_of_two", "Zh"},     // Zg and Zh decode to "f" alike
    {"spare_bits_of_three", "Zm9"},  // Zm8 and Zm9 decode to "fo" alike
    {"high_byte", "Zm9\xc3"},
    {"dot", "Zm9v.Zm9"},
};
class Refused : public testing::TestWithParam<Case> {};
TEST_P(Refused, IsNotTheCanonicalForm) { EXPECT_FALSE(base64url_decode(GetParam().text)); }
INSTANTIATE_TEST_SUITE_P(Base64Url, Refused, testing::ValuesIn(kRefused),
                         [](const auto& test) { return test.param.name; });

TEST(Base64Url, WantsRoomForTheLongestResult) {
  std::array<char, 4> small;
  EXPECT_FALSE(base64url_decode("Zm9v", small));
}

}  // namespace
}  // namespace merlon::identity
