#include "telemetry/line_ring.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

namespace merlon::telemetry {
namespace {

std::string take_all(LineRing& ring) {
  std::string out;
  for (std::string_view bytes = ring.readable(); !bytes.empty(); bytes = ring.readable()) {
    out += bytes;
    ring.consume(bytes.size());
  }
  return out;
}

TEST(LineRing, KeepsLinesWholeAcrossTheWrap) {
  LineRing ring(4096);
  for (int round = 0; round < 1000; ++round) {
    const std::string line = std::string(static_cast<std::size_t>(round % 700), 'x') + "\n";
    ASSERT_TRUE(ring.push(line));
    ASSERT_EQ(take_all(ring), line);
  }
  EXPECT_EQ(ring.dropped(), 0U);
}

TEST(LineRing, DropsWholeLinesWhenFullAndCountsThem) {
  LineRing ring(4096);
  const std::string line = std::string(999, 'x') + "\n";
  for (int i = 0; i < 6; ++i) static_cast<void>(ring.push(line));
  EXPECT_EQ(ring.dropped(), 2U);
  EXPECT_EQ(take_all(ring), line + line + line + line);
  EXPECT_TRUE(ring.push(line));
  EXPECT_FALSE(ring.push(std::string(5000, 'y')));  // longer than the ring
}

TEST(LineRing, FillsToTheLastByte) {
  LineRing ring(4096);
  EXPECT_TRUE(ring.push(std::string(4096, 'z')));
  EXPECT_FALSE(ring.push("\n"));
  EXPECT_EQ(take_all(ring).size(), 4096U);
}

TEST(LineRing, AsksForOneWakeupWhenHalfFull) {
  LineRing ring(4096);
  ASSERT_TRUE(ring.push(std::string(2000, 'x')));
  EXPECT_FALSE(ring.wants_wakeup());
  ASSERT_TRUE(ring.push(std::string(100, 'x')));
  EXPECT_TRUE(ring.wants_wakeup());
  EXPECT_FALSE(ring.wants_wakeup());
  ring.allow_wakeup();
  EXPECT_TRUE(ring.wants_wakeup());
}

TEST(LineRing, ConsumesOneLineAcrossTheWrap) {
  LineRing ring(4096);
  ASSERT_TRUE(ring.push(std::string(4000, 'x')));
  ring.consume(4000);
  ASSERT_TRUE(ring.push(std::string(200, 'y') + "\nrest\n"));
  ring.consume_line();
  EXPECT_EQ(take_all(ring), "rest\n");
}

TEST(LineRing, HandsEveryLineToAnotherThreadInOrder) {
  constexpr int kLines = 50'000;
  LineRing ring(4096);
  std::thread producer([&ring] {
    for (int i = 0; i < kLines;) {
      if (ring.push(std::to_string(i) + "\n")) {
        ++i;
      } else {
        std::this_thread::yield();
      }
    }
  });
  std::string got;
  std::string want;
  for (int i = 0; i < kLines; ++i) want += std::to_string(i) + "\n";
  while (got.size() < want.size()) {
    const std::string_view bytes = ring.readable();
    got += bytes;
    ring.consume(bytes.size());
    if (bytes.empty()) std::this_thread::yield();
  }
  producer.join();
  EXPECT_TRUE(got == want);
}

}  // namespace
}  // namespace merlon::telemetry
