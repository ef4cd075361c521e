#include "audit/file_mode.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

namespace merlon::audit {

unsigned mode_open_to_all(const std::string& path) {
  constexpr const char* kSystemFolders[] = {"/etc/", "/usr/", "/opt/"};
  std::error_code error;
  const std::string full = std::filesystem::absolute(path, error).lexically_normal().string() + "/";
  const bool system = !error && std::ranges::any_of(kSystemFolders, [&](const char* folder) {
    return full.starts_with(folder);
  });
  struct stat about{};
  if (!system || ::stat(path.c_str(), &about) != 0) return 0;
  return (about.st_mode & S_IWOTH) == 0 ? 0 : about.st_mode & 07777U;
}

}  // namespace merlon::audit
