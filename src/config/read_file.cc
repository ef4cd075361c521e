#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <system_error>

#include "config/tree.h"

namespace merlon::config {
namespace {

constexpr std::size_t kFileBytesMax = ParseOptions{}.bytes_max;

using Text = std::expected<std::string, std::string>;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const noexcept { return fd_; }

 private:
  int fd_;
};

std::unexpected<std::string> failed(int error) {
  return std::unexpected(std::generic_category().message(error));
}

// Without O_NONBLOCK, opening a FIFO would wait for a writer.
constexpr int kOpenFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

Text read_all(int fd) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return failed(errno);
  if (!S_ISREG(status.st_mode)) return std::unexpected("it is not a regular file");
  std::string text;
  std::string block(64UL * 1024, '\0');
  while (true) {
    const ssize_t got = ::read(fd, block.data(), block.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed(errno);
    if (got == 0) return text;
    text.append(block.data(), static_cast<std::size_t>(got));
    if (text.size() > kFileBytesMax) return std::unexpected("it is larger than 16 MiB");
  }
}

/// For kernels before 5.6 and sandboxes that do not let openat2(2) through: names are compared
/// after all symbolic links are followed.
Text read_below_by_name(const std::string& directory, const std::string& name) {
  char base[PATH_MAX];
  char target[PATH_MAX];
  if (::realpath(directory.c_str(), base) == nullptr) return failed(errno);
  if (::realpath((directory + "/" + name).c_str(), target) == nullptr) return failed(errno);
  const std::string prefix = std::string(base) == "/" ? "/" : std::string(base) + "/";
  if (!std::string_view(target).starts_with(prefix)) {
    return std::unexpected("it leads out of the directory of the configuration");
  }
  return read_regular_file(target);
}

}  // namespace

Text read_regular_file(const std::string& path) {
  const Descriptor fd(::open(path.c_str(), kOpenFlags));
  if (fd.get() < 0) return failed(errno);
  return read_all(fd.get());
}

Text read_file_below(const std::string& directory, const std::string& name) {
  const Descriptor base(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (base.get() < 0) return failed(errno);
  open_how how{};
  how.flags = kOpenFlags;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  const long opened = ::syscall(SYS_openat2, base.get(), name.c_str(), &how, sizeof(how));
  if (opened >= 0) {
    const Descriptor fd(static_cast<int>(opened));
    return read_all(fd.get());
  }
  if (errno == ENOSYS || errno == EPERM) return read_below_by_name(directory, name);
  if (errno == EXDEV) {
    return std::unexpected("it leads out of the directory of the configuration");
  }
  return failed(errno);
}

}  // namespace merlon::config
