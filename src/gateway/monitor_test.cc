#include "gateway/monitor.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace merlon::gateway {
namespace {

namespace fs = std::filesystem;

/// What the kernel shows of processors below /sys/devices/system/cpu.
class Processors : public testing::Test {
 protected:
  Processors() {
    std::string name = (fs::temp_directory_path() / "merlon-cpu-XXXXXX").string();
    root_ = ::mkdtemp(name.data());
  }
  ~Processors() override { fs::remove_all(root_); }
  Processors(const Processors&) = delete;
  Processors& operator=(const Processors&) = delete;

  void write(const std::string& cpu, const std::string& file, const std::string& text) const {
    fs::create_directories(root_ / cpu / "thermal_throttle");
    std::ofstream(root_ / cpu / "thermal_throttle" / file) << text;
  }
  [[nodiscard]] ThrottleReader reader() const { return {*broker_, root_.string()}; }

  std::unique_ptr<io::Broker> broker_ = io::make_local_broker();
  fs::path root_;
};

TEST_F(Processors, WithoutCountersThereIsNothingToRead) {
  fs::create_directories(root_ / "cpu0");
  EXPECT_FALSE(reader().available());
  EXPECT_EQ(reader().total(), 0U);
}

TEST_F(Processors, AreSummedUpOverHolesAndPackages) {
  write("cpu0", "core_throttle_count", "3\n");
  write("cpu0", "package_throttle_count", "10\n");
  // cpu1 is offline, cpu2 has no counter of its package, cpu3 says something else.
  write("cpu2", "core_throttle_count", "4\n");
  write("cpu3", "core_throttle_count", "many\n");
  const ThrottleReader throttling = reader();
  EXPECT_TRUE(throttling.available());
  EXPECT_EQ(throttling.total(), 17U);
  write("cpu2", "core_throttle_count", "6\n");
  EXPECT_EQ(throttling.total(), 19U);
}

}  // namespace
}  // namespace merlon::gateway
