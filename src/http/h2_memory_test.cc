#include "http/h2_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <vector>

namespace merlon::http {
namespace {

constexpr std::size_t kFrameBytes = 16'394;

/// Pages of [at, at + bytes) that the kernel has backed.
std::size_t resident_pages(const void* at, std::size_t bytes) {
  const auto first = reinterpret_cast<std::uintptr_t>(at) & ~std::uintptr_t{4095};
  const std::size_t pages = (reinterpret_cast<std::uintptr_t>(at) + bytes - first + 4095) / 4096;
  std::vector<unsigned char> backed(pages);
  EXPECT_EQ(::mincore(reinterpret_cast<void*>(first), pages * 4096, backed.data()), 0);
  std::size_t count = 0;
  for (const unsigned char page : backed) count += page & 1U;
  return count;
}

TEST(H2Memory, AFrameBufferIsBackedWhereItIsUsed) {
  H2Memory owner;
  nghttp2_mem memory = owner.interface();
  void* const buffer = memory.realloc(nullptr, kFrameBytes, &owner);
  ASSERT_NE(buffer, nullptr);
  std::memset(buffer, 1, 300);
  EXPECT_EQ(resident_pages(buffer, kFrameBytes), 1U);
  std::memset(buffer, 2, kFrameBytes);
  EXPECT_EQ(resident_pages(buffer, kFrameBytes), 5U);
  owner.release_idle();
  EXPECT_EQ(resident_pages(buffer, kFrameBytes), 0U);
  std::memset(buffer, 3, kFrameBytes);
  memory.free(buffer, &owner);
}

TEST(H2Memory, BuffersAreApartAndComeBack) {
  H2Memory owner;
  nghttp2_mem memory = owner.interface();
  std::vector<unsigned char*> buffers;
  for (unsigned i = 0; i < 500; ++i) {
    buffers.push_back(static_cast<unsigned char*>(memory.malloc(kFrameBytes, &owner)));
    ASSERT_NE(buffers.back(), nullptr);
    std::memset(buffers.back(), static_cast<int>(i), kFrameBytes);
  }
  for (unsigned i = 0; i < buffers.size(); ++i) {
    EXPECT_EQ(buffers[i][0], i & 0xffU);
    EXPECT_EQ(buffers[i][kFrameBytes - 1], i & 0xffU);
  }
  for (unsigned char* buffer : buffers) memory.free(buffer, &owner);
  // Most of what is free is not backed.
  EXPECT_LE(resident_pages(buffers.back(), kFrameBytes), 1U);
}

TEST(H2Memory, OtherSizesAreMallocs) {
  H2Memory owner;
  nghttp2_mem memory = owner.interface();
  for (const std::size_t bytes : {1U, 100U, 16'384U, 20'480U, 100'000U}) {
    auto* at = static_cast<char*>(memory.malloc(bytes, &owner));
    ASSERT_NE(at, nullptr);
    std::memset(at, 1, bytes);
    at = static_cast<char*>(memory.realloc(at, bytes * 2, &owner));
    ASSERT_NE(at, nullptr);
    EXPECT_EQ(at[bytes - 1], 1);
    memory.free(at, &owner);
  }
  memory.free(nullptr, &owner);
  auto* const buffer = static_cast<char*>(memory.malloc(kFrameBytes, &owner));
  std::memset(buffer, 7, kFrameBytes);
  auto* const grown = static_cast<char*>(memory.realloc(buffer, 40'000, &owner));
  EXPECT_EQ(grown[kFrameBytes - 1], 7);
  memory.free(grown, &owner);
}

}  // namespace
}  // namespace merlon::http
