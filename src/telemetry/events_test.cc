#include "telemetry/events.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <thread>
#include <utility>

#include "base/secret.h"
#include "telemetry/testing.h"

namespace merlon::telemetry {
namespace {

using test::json_lines;
using test::read_all;

template <class T>
concept Loggable = requires(const T& value) { str("key", value); };
static_assert(Loggable<std::string>);
static_assert(!Loggable<Secret>, "a secret must not be loggable");
template <class T>
concept Countable = requires(const T& value) { num("key", value); };
static_assert(!Countable<bool> && !Countable<double> && !Countable<Secret>);

class Events : public testing::Test {
 protected:
  std::unique_ptr<EventLog> open(EventLogOptions options = {}) {
    options.target = path_;
    auto log = EventLog::open(*broker_, clock_, std::move(options));
    EXPECT_TRUE(log.has_value());
    return log ? *std::move(log) : nullptr;
  }
  std::vector<nlohmann::json> lines() { return json_lines(read_all(path_)); }

  test::TempFolder folder_;
  std::string path_ = folder_.file("process.log");
  std::unique_ptr<io::Broker> broker_ = io::make_local_broker();
  ManualClock clock_{WallTime{nanoseconds{1'709'251'199'123'456'789}}};
};

TEST_F(Events, AreOneTypedLineEach) {
  open()->warning("request_refused",
                  {num("code", std::uint16_t{213}), num("delta", -5), str("host", "a\n\x1b[2J\xff"),
                   yes_no("retry", true), dur("elapsed_us", milliseconds{3})});
  EXPECT_EQ(read_all(path_),
            "{\"time\":\"2024-02-29T23:59:59.123456Z\",\"level\":\"warning\","
            "\"event\":\"request_refused\",\"code\":213,\"delta\":-5,"
            "\"host\":\"a\\n\\u001b[2J\\ufffd\",\"retry\":true,\"elapsed_us\":3000}\n");
}

TEST_F(Events, BelowTheLevelAreNotWritten) {
  const auto log = open({.level = Level::kWarning});
  log->info("quiet");
  log->error("loud");
  log->set_level(Level::kDebug);
  log->debug("detail");
  ASSERT_EQ(lines().size(), 2U);
  EXPECT_EQ(lines()[0]["event"], "loud");
  EXPECT_EQ(lines()[1]["level"], "debug");
}

TEST_F(Events, ManyAndLongFieldsAreCutAndStayJson) {
  const std::string longest(100'000, '"');
  open()->error("long", {str("a", longest), str("b", longest), str("c", longest), str("d", longest),
                         str("e", longest), str("f", longest), str("g", longest), str("h", longest),
                         str("i", longest), str("j", longest)});
  ASSERT_EQ(lines().size(), 1U);
  EXPECT_LE(read_all(path_).size(), 4096U);
  EXPECT_EQ(lines()[0]["truncated"], true);
  EXPECT_TRUE(lines()[0]["a"].get<std::string>().ends_with("..."));
}

TEST_F(Events, CannotFillTheDisk) {  // a flood of refused peers
  const auto log = open({.budget = {.burst = 3, .per_second = 2}});
  for (int i = 0; i < 100; ++i) log->info("flood");
  log->info("other");
  EXPECT_EQ(lines().size(), 4U);
  EXPECT_EQ(log->suppressed(), 97U);
  clock_.advance(milliseconds{500});
  log->info("flood");
  log->info("flood");
  ASSERT_EQ(lines().size(), 5U);
  EXPECT_EQ(lines()[4]["suppressed"], 97);
  clock_.advance(seconds{10});
  for (int i = 0; i < 10; ++i) log->info("flood");
  EXPECT_EQ(lines().size(), 8U) << "a pause fills the bucket to its burst, not above";
}

TEST_F(Events, SayWhatWasSuppressedAlsoWhenItNeverComesAgain) {
  auto log = open({.budget = {.burst = 1, .per_second = 1}});
  log->info("flood");
  log->info("flood");
  clock_.advance(seconds{61});
  log->info("other");
  ASSERT_EQ(lines().size(), 3U);
  EXPECT_EQ(lines()[1]["event"], "events_suppressed");
  EXPECT_EQ(lines()[1]["name"], "flood");
  EXPECT_EQ(lines()[1]["count"], 1);
  log->info("other");
  log.reset();
  ASSERT_EQ(lines().size(), 4U);
  EXPECT_EQ(lines()[3]["name"], "other");
}

TEST_F(Events, GoOnInTheNewFileAfterRotation) {
  const auto log = open();
  log->info("before");
  std::filesystem::rename(path_, path_ + ".1");
  log->reopen();
  log->info("after");
  ASSERT_EQ(lines().size(), 1U);
  EXPECT_EQ(lines()[0]["event"], "after");
  std::filesystem::rename(path_, path_ + ".2");
  std::filesystem::create_directory(path_);
  log->reopen();
  log->info("still");
  const auto kept = json_lines(read_all(path_ + ".2"));
  ASSERT_EQ(kept.size(), 3U);
  EXPECT_EQ(kept[1]["event"], "process_log_reopen_failed");
  EXPECT_EQ(kept[2]["event"], "still");
}

TEST_F(Events, AreCountedWhenTheDiskIsFull) {
  auto log = EventLog::open(*broker_, clock_, {.target = "/dev/full"});
  ASSERT_TRUE(log.has_value());
  (*log)->error("lost");
  EXPECT_EQ((*log)->dropped(), 1U);
}

TEST_F(Events, NeverWaitForAStuckReader) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  const io::Fd reader(::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  const auto log = open({.budget = {.burst = 10'000, .per_second = 1}});
  for (int i = 0; i < 2000; ++i) log->info("line", {str("text", std::string(100, 'x'))});
  EXPECT_GT(log->dropped(), 0U);
}

TEST_F(Events, FromManyThreadsDoNotMix) {
  const auto log = open({.budget = {.burst = 10'000, .per_second = 1}});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&log] {
      for (int i = 0; i < 500; ++i) log->info("line", {str("text", std::string(200, 'x'))});
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto all = lines();
  EXPECT_EQ(all.size(), 2000U);
  for (const auto& line : all) ASSERT_EQ(line.value("event", ""), "line");
}

TEST_F(Events, AFileThatCannotBeOpenedIsAnError) {
  const auto log = EventLog::open(*broker_, clock_, {.target = folder_.file("no/such/folder")});
  ASSERT_FALSE(log.has_value());
  EXPECT_EQ(log.error().number, ENOENT);
}

}  // namespace
}  // namespace merlon::telemetry
