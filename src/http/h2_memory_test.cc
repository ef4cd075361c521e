#include "http/h2_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

namespace merlon::http {
namespace {

constexpr std::size_t kFrameBytes = 16'394;

/// Pages of [at, at + bytes) that the kernel has backed.
std::size_t resident_pages(const void* at, std::size_t bytes) {
  const std::size_t into_page = reinterpret_cast<std::uintptr_t>(at) & 4095U;
  char* const first = static_cast<char*>(const_cast<void*>(at)) - into_page;
  const std::size_t pages = (into_page + bytes + 4095) / 4096;
  std::vector<unsigned char> backed(pages);
  EXPECT_EQ(::mincore(first, pages * 4096, backed.data()), 0);
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
  owner.rest();
  EXPECT_EQ(resident_pages(buffer, kFrameBytes), 0U);
  owner.wake();
  std::memset(buffer, 3, kFrameBytes);
  memory.free(buffer, &owner);
}

TEST(H2Memory, WhatIsOfTheSessionRestsWithoutItsPagesAndComesBack) {
  H2Memory owner;
  nghttp2_mem memory = owner.interface();
  auto* const session = static_cast<unsigned char*>(memory.calloc(1, 3000, &owner));
  auto* const table = static_cast<unsigned char*>(memory.calloc(256, 16, &owner));
  owner.session_made();
  std::vector<unsigned char*> entries;
  for (unsigned i = 0; i < 20; ++i) {
    entries.push_back(static_cast<unsigned char*>(memory.malloc(40 + i, &owner)));
    std::memset(entries.back(), static_cast<int>(i), 40 + i);
  }
  session[0] = session[1500] = session[2999] = 7;
  table[4095] = 9;
  for (int round = 0; round < 3; ++round) {
    owner.wake();  // nothing to do
    owner.rest();
    EXPECT_TRUE(owner.resting());
    EXPECT_EQ(resident_pages(session, 3000) + resident_pages(table, 4096), 0U);
    owner.wake();
    EXPECT_FALSE(owner.resting());
    for (std::size_t i = 0; i < 3000; ++i)
      ASSERT_EQ(session[i], i == 0 || i == 1500 || i == 2999 ? 7 : 0) << i;
    EXPECT_EQ(std::count(table, table + 4096, 0), 4095);
    EXPECT_EQ(table[4095], 9);
    for (unsigned i = 0; i < 20; ++i)
      EXPECT_EQ(std::count(entries[i], entries[i] + 40 + i, static_cast<unsigned char>(i)), 40 + i);
    session[1500] = 7;  // it is written to between
  }
  for (unsigned char* entry : entries) memory.free(entry, &owner);
  memory.free(table, &owner);
  memory.free(session, &owner);
}

TEST(H2Memory, SmallPiecesAreUsedAgainAlsoAfterARest) {
  H2Memory owner;
  nghttp2_mem memory = owner.interface();
  owner.session_made();
  void* const first = memory.malloc(80, &owner);
  void* const second = memory.malloc(75, &owner);
  memory.free(first, &owner);
  memory.free(second, &owner);
  owner.rest();
  owner.wake();
  EXPECT_EQ(memory.malloc(73, &owner), second);
  EXPECT_EQ(memory.malloc(80, &owner), first);
  memory.free(first, &owner);
  memory.free(second, &owner);
}

TEST(H2Memory, WhatComesAndGoesWithAStreamIsNotOfTheSession) {
  H2Memory owner;
  nghttp2_mem memory = owner.interface();
  owner.session_made();
  void* const stream = memory.malloc(300, &owner);
  std::memset(stream, 1, 300);
  owner.rest();
  EXPECT_EQ(static_cast<char*>(stream)[299], 1);  // the session may be at rest with a stream
  owner.wake();
  memory.free(stream, &owner);
}

TEST(H2Memory, ManySmallPiecesSpillIntoThePool) {
  H2Memory owner;
  nghttp2_mem memory = owner.interface();
  owner.session_made();
  std::vector<unsigned char*> pieces;
  for (unsigned i = 0; i < 2'000; ++i) {
    pieces.push_back(static_cast<unsigned char*>(memory.malloc(1 + i % 128, &owner)));
    std::memset(pieces.back(), static_cast<int>(i), 1 + i % 128);
  }
  owner.rest();
  owner.wake();
  for (unsigned i = 0; i < pieces.size(); ++i) {
    EXPECT_EQ(pieces[i][0], i & 0xffU);
    EXPECT_EQ(pieces[i][i % 128], i & 0xffU);
    memory.free(pieces[i], &owner);
  }
}

TEST(H2Memory, BuffersAreApartAndComeBack) {
  std::vector<std::unique_ptr<H2Memory>> owners;
  std::vector<unsigned char*> buffers;
  for (unsigned i = 0; i < 500; ++i) {
    owners.push_back(std::make_unique<H2Memory>());
    H2Memory* const owner = owners.back().get();
    buffers.push_back(static_cast<unsigned char*>(owner->interface().malloc(kFrameBytes, owner)));
    ASSERT_NE(buffers.back(), nullptr);
    std::memset(buffers.back(), static_cast<int>(i), kFrameBytes);
  }
  for (unsigned i = 0; i < buffers.size(); ++i) {
    EXPECT_EQ(buffers[i][0], i & 0xffU);
    EXPECT_EQ(buffers[i][kFrameBytes - 1], i & 0xffU);
    owners[i]->interface().free(buffers[i], owners[i].get());
  }
  owners.clear();
  // Most of what is free is not backed.
  EXPECT_EQ(resident_pages(buffers.back(), kFrameBytes), 0U);
}

TEST(H2Memory, ASecondFrameBufferIsOfThePool) {
  H2Memory owner;
  nghttp2_mem memory = owner.interface();
  auto* const first = static_cast<unsigned char*>(memory.malloc(kFrameBytes, &owner));
  auto* const second = static_cast<unsigned char*>(memory.malloc(kFrameBytes, &owner));
  std::memset(first, 1, kFrameBytes);
  std::memset(second, 2, kFrameBytes);
  EXPECT_EQ(first[kFrameBytes - 1], 1);
  memory.free(first, &owner);
  EXPECT_EQ(memory.malloc(kFrameBytes, &owner), first);
  memory.free(second, &owner);
  memory.free(first, &owner);
}

TEST(H2Memory, OtherSizesAreOfThePool) {
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
