#include "http/fields.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "http/field_bytes.h"

namespace merlon::http {
namespace {

std::vector<std::string> numbers(std::size_t count) {
  std::vector<std::string> all;
  all.reserve(count);
  for (std::size_t i = 0; i < count; ++i) all.push_back(std::to_string(i));
  return all;
}

TEST(Fields, KeepTheirOrderHoweverManyTheyAre) {
  const std::vector<std::string> values = numbers(Fields::kCapacity);
  Fields fields;
  for (int round = 0; round < 2; ++round) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_TRUE(fields.add(i % 2 == 0 ? "Host" : "X-Other", values[i]));
      ASSERT_EQ(fields.size(), i + 1);
      ASSERT_EQ(fields[i].value, values[i]);
      ASSERT_EQ(fields[0].value, "0");
    }
    EXPECT_FALSE(fields.add("Host", "one too many"));
    EXPECT_EQ(fields.size(), Fields::kCapacity);
    EXPECT_EQ(fields.count(FieldId::kHost), Fields::kCapacity / 2);
    EXPECT_EQ(fields.drop(FieldId::kHost), Fields::kCapacity / 2);
    EXPECT_EQ(fields.find(FieldId::kHost), nullptr);
    std::size_t next = 1;
    for (const Field& field : fields) {
      EXPECT_EQ(field.value, values[next]);
      next += 2;
    }
    EXPECT_EQ(next, Fields::kCapacity + 1);
    fields.clear();
    EXPECT_EQ(fields.size(), 0U);
    EXPECT_TRUE(fields.begin() == fields.end());
  }
}

/// The bytes are looked at many at a time: each length, with each byte in each place.
TEST(ValueBytes, TheFirstBadOneIsFoundWhereverItIs) {
  for (std::size_t size = 0; size <= 40; ++size) {
    std::string text(size, 'v');
    EXPECT_EQ(first_bad_value_byte(text), size);
    for (std::size_t at = 0; at < size; ++at) {
      for (int byte = 0; byte < 256; ++byte) {
        text[at] = static_cast<char>(byte);
        const std::size_t found = first_bad_value_byte(text);
        ASSERT_EQ(found, is_value_byte(text[at]) ? size : at) << size << ' ' << at << ' ' << byte;
      }
      text[at] = 'v';
    }
  }
  EXPECT_EQ(first_bad_value_byte("a\tb\tc\td\te\tf\tg\th"), 15U);
  EXPECT_EQ(first_bad_value_byte("a\tb\tc\td\te\tf\tg\t\n"), 14U);
}

}  // namespace
}  // namespace merlon::http
