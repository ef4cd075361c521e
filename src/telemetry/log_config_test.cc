#include "telemetry/log_config.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>

#include "config/tree.h"

namespace merlon::telemetry {
namespace {
struct Loaded {
  Diagnostics out;
  std::optional<LogConfig> log;
};

Loaded load(const std::string& text) {
  Loaded loaded;
  const auto tree = config::load_text("/etc/merlon/m.yaml", text, loaded.out);
  if (tree == nullptr) return loaded;
  config::Reader reader(loaded.out, "/etc/merlon");
  loaded.log = config::read(log_schema(), tree->root(), reader);
  return loaded;
}

TEST(LogConfig, DefaultsToTheStandardStreams) {
  const LogConfig log;
  EXPECT_TRUE(log.access.is_standard_stream());
  EXPECT_TRUE(log.process.is_standard_stream());
  EXPECT_EQ(log.level, Level::kInfo);
}

TEST(LogConfig, IsRead) {
  const Loaded l = load("access: logs/access.log\nprocess: \"-\"\nlevel: warning\n");
  ASSERT_TRUE(l.log.has_value()) << l.out.render();
  EXPECT_EQ(l.log->access.path, "/etc/merlon/logs/access.log");
  EXPECT_FALSE(l.log->access.is_standard_stream());
  EXPECT_EQ(l.log->process.path, "-");
  EXPECT_EQ(l.log->level, Level::kWarning);
}

TEST(LogConfig, ShowsWhatIsInForce) {
  LogConfig log;
  log.access = {.written = "a.log", .path = "/etc/merlon/a.log"};
  const auto rows = config::effective(log_schema(), log, nullptr);
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[0].value, "a.log");
  EXPECT_EQ(rows[2].value, "info");
}

struct Refused {
  const char* name;
  const char* text;
};
constexpr Refused kRefused[] = {
    {"unknown_level", "level: verbose\n"},
    {"level_off", "level: off\n"},
    {"empty_file", "access: \"\"\n"},
    {"unknown_key", "acess: \"-\"\n"},
    {"one_file_for_both", "access: a.log\nprocess: a.log\n"},
    {"one_file_written_twice", "access: a.log\nprocess: /etc/merlon/a.log\n"},
};
class LogConfigRefused : public testing::TestWithParam<Refused> {};
TEST_P(LogConfigRefused, IsAnError) {
  const Loaded l = load(GetParam().text);
  EXPECT_FALSE(l.out.ok());
}
INSTANTIATE_TEST_SUITE_P(All, LogConfigRefused, testing::ValuesIn(kRefused),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace merlon::telemetry
