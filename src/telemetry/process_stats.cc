#include "telemetry/process_stats.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <string_view>

#include "io/broker.h"

namespace merlon::telemetry {

ProcessStats::ProcessStats() {
  if (auto memory = io::open_proc_self("statm")) memory_ = *std::move(memory);
  if (auto descriptors = io::open_proc_self("fd")) descriptors_ = *std::move(descriptors);
}

std::optional<std::uint64_t> ProcessStats::resident_bytes() const noexcept {
  char text[128];
  const ssize_t n = ::pread(memory_.get(), text, sizeof text, 0);
  if (n <= 0) return std::nullopt;
  // "size resident shared …", in pages (proc(5)).
  std::string_view rest(text, static_cast<std::size_t>(n));
  const std::size_t space = rest.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  rest.remove_prefix(space + 1);
  std::uint64_t pages = 0;
  if (std::from_chars(rest.data(), rest.data() + rest.size(), pages).ec != std::errc{})
    return std::nullopt;
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::optional<std::uint64_t> ProcessStats::open_fds() const noexcept {
  // Linux tells their number as the size of the directory since 6.2; counting thousands takes long.
  struct stat status{};
  if (::fstat(descriptors_.get(), &status) == 0 && status.st_size > 0)
    return static_cast<std::uint64_t>(status.st_size);
  // closedir closes its descriptor, so it gets a copy; both share one position.
  io::Fd copy(::dup(descriptors_.get()));
  if (!copy && errno == EMFILE) return fds_max();
  if (!copy || ::lseek(copy.get(), 0, SEEK_SET) != 0) return std::nullopt;
  DIR* const directory = ::fdopendir(copy.get());
  if (directory == nullptr) return std::nullopt;
  static_cast<void>(copy.release());
  std::uint64_t count = 0;
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_name[0] != '.') ++count;
  }
  ::closedir(directory);
  return count - 1;  // without the copy
}

std::uint64_t ProcessStats::fds_max() noexcept {
  rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
}

double ProcessStats::cpu_seconds() noexcept {
  rusage usage{};
  if (::getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  const auto to_seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return to_seconds(usage.ru_utime) + to_seconds(usage.ru_stime);
}

}  // namespace merlon::telemetry
