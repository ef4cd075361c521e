#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "config/include.h"
#include "config/shown.h"
#include "config/tree.h"
#include "config/tree_builder.h"

namespace merlon::config {
namespace {

using Text = std::expected<std::string, std::string>;

/// Why a name may not be included; "" when it may.
std::string_view problem_of_name(std::string_view name) {
  if (name.empty() || name.size() > kIncludedNameBytesMax) return "a file name has 1 to 255 bytes";
  if (name.front() == '/')
    return "only files in or below the directory of the main file can be included";
  for (const char c : name) {
    if (static_cast<unsigned char>(c) < 0x20 || c == '\\') return "this character is not allowed";
  }
  std::size_t from = 0;
  while (from <= name.size()) {
    const std::size_t end = std::min(name.find('/', from), name.size());
    const std::string_view segment = name.substr(from, end - from);
    if (segment.empty() || segment == "." || segment == "..") {
      return "`..`, `.` and empty names of directories are not allowed";
    }
    from = end + 1;
  }
  return {};
}

/// One load: the files read so far and the root that grows out of theirs.
class Loader {
 public:
  Loader(std::string path, Diagnostics& out, const ReadFile& read)
      : path_(std::move(path)),
        directory_(directory_of(path_)),
        read_(read),
        builder_(ParseOptions{}, out) {}

  std::shared_ptr<const Tree> load(std::string text) {
    const std::optional<Node> main = parse(path_, std::move(text));
    if (!main.has_value()) return nullptr;
    if (!main->is_mapping()) return builder_.finish({*main});
    read_names_.emplace_back(Included{.name = path_.substr(path_.rfind('/') + 1), .at = {}});
    merge(*main);
    for (std::size_t i = 0; i < queue_.size(); ++i) include(queue_[i]);
    return builder_.finish({assemble(*main)});
  }

 private:
  struct Included {
    std::string name;
    Mark at;
  };
  /// A key of the root with what every file says about it.
  struct Entry {
    Member first;
    std::vector<Node> items;
    std::vector<Member> members;
    bool merged = false;
  };

  std::optional<Node> parse(const std::string& path, std::string text) {
    auto source = std::make_shared<Source>();
    source->path = path;
    source->text = std::move(text);
    const auto documents = builder_.parse(std::move(source));
    if (!documents.has_value()) return std::nullopt;
    return documents->front();
  }

  void include(const Node name_node) {
    const std::string name(name_node.text());
    if (const std::string_view problem = problem_of_name(name); !problem.empty()) {
      builder_.error(name_node.at(), fmt::format("{} cannot be included", shown(name)),
                     std::string(problem));
      return;
    }
    for (const Included& other : read_names_) {
      if (other.name != name) continue;
      builder_.error(name_node.at(), fmt::format("{} is included twice", shown(name)),
                     other.at.known() ? fmt::format("the first is at {}", other.at.to_string())
                                      : "it is the main file itself");
      return;
    }
    read_names_.push_back({.name = name, .at = name_node.at()});
    const std::string path = directory_ == "." && path_.find('/') == std::string::npos
                                 ? name
                                 : directory_ + (directory_.ends_with('/') ? "" : "/") + name;
    Text text = read_ ? read_(path) : read_file_below(directory_, name);
    if (!text.has_value()) {
      builder_.error(name_node.at(), fmt::format("cannot read `{}`: {}", path, text.error()));
      return;
    }
    const std::optional<Node> root = parse(path, std::move(*text));
    if (!root.has_value()) return;
    if (!root->is_mapping()) {
      builder_.error(root->at(),
                     fmt::format("expected a mapping, found {}", describe(root->kind())),
                     "an included file has the same keys as the main file");
      return;
    }
    merge(*root);
  }

  void merge(const Node& root) {
    for (const Member& member : root.members()) {
      if (member.key.text() == kIncludeKey) {
        enqueue(member.value);
        continue;
      }
      const auto [slot, is_new] = index_.try_emplace(member.key.text(), entries_.size());
      if (is_new) {
        entries_.push_back({.first = member, .items = {}, .members = {}});
      } else {
        unite(entries_[slot->second], member);
      }
    }
  }

  void enqueue(const Node& names) {
    if (!names.is_sequence()) {
      builder_.error(names.at(), "`include` is a list of file names",
                     "such as `include: [routes/orders.yaml]`");
      return;
    }
    for (const Node& name : names.items()) {
      if (!name.is_scalar()) {
        builder_.error(name.at(),
                       fmt::format("expected a file name, found {}", describe(name.kind())));
      } else if (queue_.size() == kIncludedMax) {
        builder_.error(name.at(), fmt::format("more than {} files are included", kIncludedMax));
        return;
      } else {
        queue_.push_back(name);
      }
    }
  }

  void unite(Entry& entry, const Member& more) {
    const Node& first = entry.first.value;
    if (first.is_sequence() && more.value.is_sequence()) {
      const auto base = entry.merged ? std::span<const Node>{} : first.items();
      entry.items.insert(entry.items.end(), base.begin(), base.end());
      const auto items = more.value.items();
      entry.items.insert(entry.items.end(), items.begin(), items.end());
      entry.merged = true;
    } else if (first.is_mapping() && more.value.is_mapping()) {
      const auto base = entry.merged ? std::span<const Member>{} : first.members();
      entry.members.insert(entry.members.end(), base.begin(), base.end());
      const auto members = more.value.members();
      entry.members.insert(entry.members.end(), members.begin(), members.end());
      entry.merged = true;
    } else {
      builder_.error(
          more.key.at(), fmt::format("{} is given in two files", shown(more.key.text())),
          fmt::format("the first is at {}; only lists and mappings can be split over files",
                      entry.first.key.at().to_string()));
    }
  }

  Node assemble(const Node& main) {
    std::vector<Member> members;
    members.reserve(entries_.size());
    for (Entry& entry : entries_) {
      Member member = entry.first;
      if (entry.merged && member.value.is_sequence()) {
        member.value = builder_.make_sequence(entry.items, member.value);
      } else if (entry.merged) {
        builder_.refuse_duplicates(entry.members);
        member.value = builder_.make_mapping(entry.members, member.value);
      }
      members.push_back(member);
    }
    return builder_.make_mapping(members, main);
  }

  const std::string path_;
  const std::string directory_;
  const ReadFile& read_;
  TreeBuilder builder_;
  std::vector<Included> read_names_;
  std::vector<Node> queue_;
  std::vector<Entry> entries_;
  std::unordered_map<std::string_view, std::size_t> index_;
};

}  // namespace

std::string directory_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  return std::string(path.substr(0, slash == 0 ? 1 : slash));
}

std::shared_ptr<const Tree> load(const std::string& path, Diagnostics& out, const ReadFile& read) {
  Text text = read ? read(path) : read_regular_file(path);
  if (!text.has_value()) {
    out.error({}, fmt::format("cannot read `{}`: {}", path, text.error()));
    return nullptr;
  }
  return load_text(path, std::move(*text), out, read);
}

std::shared_ptr<const Tree> load_text(std::string path, std::string text, Diagnostics& out,
                                      const ReadFile& read) {
  return Loader(std::move(path), out, read).load(std::move(text));
}

}  // namespace merlon::config
