#include "audit/nginx/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fnmatch.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <utility>

namespace merlon::audit {
namespace {

constexpr std::string_view kDumpMarker = "# configuration file ";

class OwnedFd {
 public:
  explicit OwnedFd(int fd) : fd_(fd) {}
  OwnedFd(const OwnedFd&) = delete;
  OwnedFd& operator=(const OwnedFd&) = delete;
  ~OwnedFd() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const noexcept { return fd_; }

 private:
  int fd_;
};

bool is_inside(std::string_view path, std::string_view folder) {
  return folder == "/" || path == folder ||
         (path.size() > folder.size() && path.starts_with(folder) && path[folder.size()] == '/');
}

bool looks_binary(std::string_view text) {
  return text.substr(0, 8192).find('\0') != std::string_view::npos;
}

}  // namespace

std::string without_dot(std::string path) {
  while (path.starts_with("./")) {
    const std::size_t from = path.find_first_not_of('/', 1);
    if (from == std::string::npos) break;
    path.erase(0, from);
  }
  return path;
}

std::string resolve_path(const std::string& path) {
  char* resolved = ::realpath(path.c_str(), nullptr);
  if (resolved == nullptr) return {};
  std::string out(resolved);
  std::free(resolved);
  return out;
}

void FileReader::allow(const std::string& folder) {
  std::string resolved = resolve_path(folder);
  if (!resolved.empty()) roots_.push_back(std::move(resolved));
}

bool FileReader::allowed(const std::string& path) const {
  const std::string resolved = resolve_path(path);
  return !resolved.empty() && std::ranges::any_of(roots_, [&](const std::string& root) {
    return is_inside(resolved, root);
  });
}

FileReader::Read FileReader::read(const std::string& path, const std::string& shown) {
  const auto found = done_.find(path);
  if (found != done_.end()) return found->second;
  return done_.emplace(path, read_now(path, shown)).first->second;
}

FileReader::Read FileReader::read_now(const std::string& path, const std::string& shown) {
  const auto refuse = [&](std::string_view why) {
    return Read{nullptr, fmt::format("{} {}", shown, why), false};
  };
  const std::string resolved = resolve_path(path);
  if (resolved.empty()) {
    if (errno == ENOENT || errno == ENOTDIR) return {nullptr, shown + " was not found", true};
    return refuse("cannot be reached");
  }
  const bool inside = std::ranges::any_of(
      roots_, [&](const std::string& root) { return is_inside(resolved, root); });
  if (!inside) {
    return refuse(
        fmt::format("leads to {}, outside of the folders under audit: not read", resolved));
  }
  if (files_ >= options_.files_max) {
    return refuse(fmt::format("is beyond the bound of {} files", options_.files_max));
  }
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  const OwnedFd fd(::open(resolved.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
  if (fd.get() < 0) return refuse("cannot be opened");
  struct stat about{};
  if (::fstat(fd.get(), &about) != 0) return refuse("cannot be examined");
  if (S_ISDIR(about.st_mode)) return refuse("is a folder");
  if (!S_ISREG(about.st_mode)) return refuse("is not a regular file");
  const auto size = static_cast<std::uint64_t>(about.st_size);
  if (size > options_.file_bytes_max) {
    return refuse(
        fmt::format("has {} bytes, more than the bound of {}", size, options_.file_bytes_max));
  }
  if (bytes_ + size > options_.total_bytes_max) {
    return refuse(fmt::format("is beyond the bound of {} bytes in all", options_.total_bytes_max));
  }
  std::string text(size, '\0');
  std::size_t got = 0;
  while (got < text.size()) {
    const ssize_t n = ::read(fd.get(), text.data() + got, text.size() - got);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return refuse("cannot be read");
    if (n == 0) break;
    got += static_cast<std::size_t>(n);
  }
  text.resize(got);
  if (looks_binary(text)) return refuse("is not a text file");
  ++files_;
  bytes_ += got;
  return {std::make_shared<const Source>(Source{shown, std::move(text)}), {}, false};
}

namespace nginx {
namespace {

bool has_glob(std::string_view pattern) {
  return pattern.find_first_of("*?[") != std::string_view::npos;
}

/// Folders in which nginx is usually installed: a name under one of them means the tree's own file.
constexpr std::string_view kUsualFolders[] = {
    "/etc/nginx/",           "/usr/local/nginx/conf/",
    "/usr/local/etc/nginx/", "/opt/nginx/conf/",
    "/etc/openresty/",       "/usr/local/openresty/nginx/conf/",
    "/config/nginx/",        "/conf/nginx/"};

}  // namespace

std::vector<std::string> DiskIncludes::candidates(std::string_view pattern) const {
  std::vector<std::string> out;
  std::string_view relative = pattern;
  if (pattern.starts_with('/')) {
    // The very path first, but only if it lies in the tree: the host's own files are not the
    // audited ones.
    const std::size_t wild = std::min(pattern.find_first_of("*?["), pattern.size());
    const std::size_t slash = pattern.substr(0, wild).rfind('/');
    const std::string folder(pattern.substr(0, std::max<std::size_t>(slash, 1)));
    if (files_.allowed(folder)) out.emplace_back(pattern);
    relative = {};
    for (const std::string_view usual : kUsualFolders) {
      if (pattern.starts_with(usual)) relative = pattern.substr(usual.size());
    }
    if (relative.empty()) return out;
  }
  for (const std::string& base : bases_)
    out.push_back(without_dot(base + "/" + std::string(relative)));
  return out;
}

FileReader::Read DiskIncludes::read(const std::string& path) {
  FileReader::Read got = files_.read(path, path);
  std::error_code no_link;
  const std::filesystem::path target = std::filesystem::read_symlink(path, no_link);
  if (got.source != nullptr || no_link || !target.is_absolute()) return got;
  // Debian's links in sites-enabled say /etc/nginx/sites-available/…, in a copy too.
  for (const std::string& candidate : candidates(target.string())) {
    FileReader::Read there = files_.read(candidate, candidate);
    if (there.source != nullptr) return there;
  }
  return got;
}

Included DiskIncludes::find(std::string_view pattern, const Source& /*from*/) {
  Included out;
  out.has_pattern = has_glob(pattern);
  const auto take = [&](const std::string& path) {
    FileReader::Read got = read(path);
    if (got.source != nullptr) out.files.push_back(std::move(got.source));
    if (got.source == nullptr && !got.missing && out.files.empty()) {
      out.refusals.push_back(std::move(got.refusal));
    }
    return !got.missing;
  };
  const std::vector<std::string> paths = candidates(pattern);
  if (paths.empty() && pattern.starts_with('/')) {
    out.refusals.push_back(
        fmt::format("include \"{}\" lies outside of the folders under audit: not read", pattern));
    return out;
  }
  for (const std::string& path : paths) {
    if (!out.has_pattern) {
      if (take(path)) return out;
      continue;
    }
    glob_t matches{};
    const auto stop = [](const char*, int error) { return error == ENOENT ? 0 : 1; };
    // nginx sorts too: it calls glob(3) without GLOB_NOSORT.
    const int result = ::glob(path.c_str(), 0, stop, &matches);
    if (result == GLOB_ABORTED) {
      out.refusals.push_back(fmt::format(
          "a folder of include \"{}\" cannot be opened: what is in it is not read", pattern));
    }
    if (result == 0) {
      for (std::size_t i = 0; i < matches.gl_pathc; ++i) {
        FileReader::Read got = read(matches.gl_pathv[i]);
        if (got.source != nullptr) out.files.push_back(got.source);
        if (got.source == nullptr) out.refusals.push_back(got.refusal);
      }
    }
    ::globfree(&matches);
    if (!out.files.empty() || !out.refusals.empty()) return out;
  }
  out.folder_missing = out.has_pattern && std::ranges::none_of(paths, [](const std::string& path) {
                         const std::size_t wild = path.find_first_of("*?[");
                         return !resolve_path(path.substr(0, path.rfind('/', wild) + 1)).empty();
                       });
  return out;
}

bool is_dump(std::string_view text) noexcept {
  return text.starts_with(kDumpMarker) ||
         text.find("\n# configuration file /") != std::string_view::npos;
}

bool DumpIncludes::load(std::string_view text) {
  std::string name;
  std::size_t body_from = 0;
  const auto close = [&](std::size_t end) {
    if (name.empty()) return;
    auto source = std::make_shared<const Source>(
        Source{name, std::string(text.substr(body_from, end - body_from))});
    if (main_ == nullptr) main_ = source;
    files_.emplace(std::exchange(name, {}), std::move(source));
  };
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with(kDumpMarker) && line.ends_with(':')) {
      close(at);
      line.remove_prefix(kDumpMarker.size());
      line.remove_suffix(1);
      name = line;
      body_from = std::min(end + 1, text.size());
    }
    at = end + 1;
  }
  close(text.size());
  return main_ != nullptr;
}

Included DumpIncludes::find(std::string_view pattern, const Source& /*from*/) {
  Included out;
  out.has_pattern = has_glob(pattern);
  std::string full(pattern);
  if (!pattern.starts_with('/')) {
    full = std::filesystem::path(main_->path).parent_path().string() + "/" + full;
  }
  for (const auto& [name, source] : files_) {
    const bool hit = out.has_pattern
                         ? ::fnmatch(full.c_str(), name.c_str(), FNM_PATHNAME | FNM_PERIOD) == 0
                         : name == full;
    if (hit) out.files.push_back(source);
  }
  return out;
}

Included NoIncludes::find(std::string_view pattern, const Source& /*from*/) {
  Included out;
  out.refusals.push_back(
      fmt::format("include \"{}\" is not followed: the text has no folder", pattern));
  return out;
}

}  // namespace nginx
}  // namespace merlon::audit
