#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "audit/audit.h"
#include "audit/nginx/syntax.h"

namespace merlon::audit {

/// Reads files for an audit: regular files only, inside the allowed folders also after symbolic
/// links are resolved, within the bounds of Options in all. Each file is read once.
class FileReader {
 public:
  struct Read {
    std::shared_ptr<const Source> source;  ///< null when it was refused
    std::string refusal;                   ///< why, as a sentence without a full stop
    bool missing = false;                  ///< there is no such file
  };

  explicit FileReader(const Options& options) : options_(options) {}

  /// Adds a folder that may be read from. Resolved first; one that does not exist is ignored.
  void allow(const std::string& folder);
  /// True when the resolved `path` lies in an allowed folder.
  [[nodiscard]] bool allowed(const std::string& path) const;
  /// `shown` is the path that findings carry.
  [[nodiscard]] Read read(const std::string& path, const std::string& shown);
  [[nodiscard]] std::uint64_t files() const noexcept { return files_; }

 private:
  Read read_now(const std::string& path, const std::string& shown);

  const Options& options_;
  std::vector<std::string> roots_;
  std::unordered_map<std::string, Read> done_;
  std::uint64_t files_ = 0;
  std::uint64_t bytes_ = 0;
};

/// `path` without "./" in front: one name for a file, however it was reached.
[[nodiscard]] std::string without_dot(std::string path);
/// Resolves every symbolic link of `path`; "" when it does not exist.
[[nodiscard]] std::string resolve_path(const std::string& path);

namespace nginx {

/// Includes on disk: relative to the folder of the main file, globs sorted as nginx sorts them. A
/// path under one of nginx's usual folders is looked up in the tree under audit, and so is what a
/// link leads to there, so that a copy of /etc/nginx can be read elsewhere.
class DiskIncludes final : public IncludeFinder {
 public:
  /// `bases`: the folders that a relative name is tried in, in order.
  DiskIncludes(FileReader& files, std::vector<std::string> bases)
      : files_(files), bases_(std::move(bases)) {}
  [[nodiscard]] Included find(std::string_view pattern, const Source& from) override;

 private:
  [[nodiscard]] std::vector<std::string> candidates(std::string_view pattern) const;
  FileReader::Read read(const std::string& path);

  FileReader& files_;
  std::vector<std::string> bases_;
};

/// The files of an `nginx -T` dump, by the names of its "# configuration file" lines.
class DumpIncludes final : public IncludeFinder {
 public:
  /// False when `text` is no dump. The first file is the main one.
  bool load(std::string_view text);
  [[nodiscard]] const std::shared_ptr<const Source>& main() const noexcept { return main_; }
  [[nodiscard]] Included find(std::string_view pattern, const Source& from) override;

 private:
  std::shared_ptr<const Source> main_;
  std::map<std::string, std::shared_ptr<const Source>> files_;
};

/// No includes: a text in memory.
class NoIncludes final : public IncludeFinder {
 public:
  [[nodiscard]] Included find(std::string_view pattern, const Source& from) override;
};

/// True when `text` has a line that starts a file of an `nginx -T` dump.
[[nodiscard]] bool is_dump(std::string_view text) noexcept;

}  // namespace nginx
}  // namespace merlon::audit
