#include "tls/rotation.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tls/test_pki.h"

namespace merlon::tls {
namespace {

class Rotation : public testing::Test {
 protected:
  const std::unique_ptr<io::Broker> broker_ = io::make_local_broker();
  test::Folder folder_;
};

TEST_F(Rotation, AChangeIsDueUntilItIsTaken) {
  const std::string path = folder_.write("c", "one");
  FileWatch watch({path}, {}, *broker_);
  const Instant start{};
  EXPECT_FALSE(watch.due(*broker_, start));
  folder_.write("c", "other");
  EXPECT_TRUE(watch.due(*broker_, start));
  watch.taken();
  EXPECT_FALSE(watch.due(*broker_, start + seconds{3600}));
  std::filesystem::remove(path);
  EXPECT_FALSE(watch.due(*broker_, start));
  folder_.write("c", "again, longer");
  EXPECT_TRUE(watch.due(*broker_, start));
}

TEST_F(Rotation, AFileThatIsGoneIsDueOnceItIsNotJustBeingReplaced) {
  const std::string path = folder_.write("c", "one");
  FileWatch watch({path, path + ".never"}, {}, *broker_);
  Instant now{};
  const auto after = [&](nanoseconds more) {
    now += more;
    return watch.due(*broker_, now);
  };
  std::filesystem::remove(path);
  EXPECT_FALSE(after(seconds{2}));
  EXPECT_FALSE(after(FileWatch::kGoneAfter - milliseconds{1}));
  folder_.write("c", "other");
  EXPECT_TRUE(after(seconds{1}));
  watch.taken();

  std::filesystem::remove(path);
  EXPECT_FALSE(after(FileWatch::kGoneAfter)) << "since it was missed";
  EXPECT_TRUE(after(FileWatch::kGoneAfter));
  EXPECT_FALSE(watch.is_again());
  EXPECT_TRUE(after(FileWatch::kPauseMin)) << "not taken";
  EXPECT_TRUE(watch.is_again());
  folder_.write("c", "back");
  EXPECT_TRUE(after(seconds{0}));
  EXPECT_FALSE(watch.is_again());
}

TEST_F(Rotation, AChangeThatCouldNotBeTakenStaysDueAfterGrowingPauses) {
  const std::string path = folder_.write("c", "one");
  FileWatch watch({path}, {}, *broker_);
  folder_.write("c", "other");
  Instant now{};
  EXPECT_TRUE(watch.due(*broker_, now));
  for (const int pause_s : {2, 4, 8, 16, 32, 64, 128, 256, 300, 300}) {
    EXPECT_FALSE(watch.due(*broker_, now + seconds{pause_s} - milliseconds{1})) << pause_s;
    now += seconds{pause_s};
    EXPECT_TRUE(watch.due(*broker_, now)) << pause_s;
  }
  folder_.write("c", "and another");
  EXPECT_TRUE(watch.due(*broker_, now)) << "a new change does not wait";
}

TEST_F(Rotation, AChangeThatKeepsSizeAndTimeIsSeen) {
  const std::string path = folder_.write("c", "one");
  const auto time = std::filesystem::last_write_time(path);
  FileWatch watch({path}, {}, *broker_);
  const std::int64_t before = broker_->status(path)->changed_ns;
  while (broker_->status(path)->changed_ns == before) {  // the kernel's clock goes in steps
    folder_.write("c", "two");
    std::filesystem::last_write_time(path, time);
  }
  EXPECT_TRUE(watch.due(*broker_, Instant{}));
}

TEST_F(Rotation, WhatIsPutBackAsItWasIsDueWhereItsReplacementWasTried) {
  const std::filesystem::path first = folder_.write("first", "one");
  const std::filesystem::path second = folder_.write("second", "bad");
  const std::filesystem::path current = first.parent_path() / "current";
  const auto lead_to = [&](const std::filesystem::path& target) {
    std::filesystem::remove(current);
    std::filesystem::create_symlink(target, current);
  };
  lead_to(first);
  FileWatch watch({current}, {}, *broker_);
  lead_to(second);
  EXPECT_TRUE(watch.due(*broker_, Instant{})) << "of several files, what was good is in force now";
  lead_to(first);
  EXPECT_TRUE(watch.due(*broker_, Instant{})) << "at once";
  watch.taken();
  EXPECT_FALSE(watch.due(*broker_, Instant{seconds{3600}}));
}

TEST_F(Rotation, AChangeBetweenReadingAndWatchingIsSeen) {
  const std::string path = folder_.write("c", "one");
  const FileWatch::States read{{path, *broker_->status(path)}};
  folder_.write("c", "other");
  EXPECT_TRUE(FileWatch({path}, read, *broker_).due(*broker_, Instant{}));
}

}  // namespace
}  // namespace merlon::tls
