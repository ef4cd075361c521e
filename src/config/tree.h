#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/diagnostics.h"

/// YAML as a tree in which every value knows its place. Used for Merlon's own configuration and,
/// with wider `ParseOptions`, for the configuration of others.
namespace merlon::config {

/// What a node is. `kNull` is a plain `~`, `null` or nothing at all; its text is kept.
enum class Kind : std::uint8_t { kNull, kScalar, kSequence, kMapping };

/// "nothing", "a scalar", "a list" or "a mapping", for messages.
[[nodiscard]] std::string_view describe(Kind kind) noexcept;

struct Member;

/// One value of a tree. Read-only; it and all its views live as long as the Tree it came from.
/// Copying one copies a handle, not what is below it.
class Node {
 public:
  [[nodiscard]] Kind kind() const noexcept { return kind_; }
  [[nodiscard]] bool is_null() const noexcept { return kind_ == Kind::kNull; }
  [[nodiscard]] bool is_scalar() const noexcept { return kind_ == Kind::kScalar; }
  [[nodiscard]] bool is_sequence() const noexcept { return kind_ == Kind::kSequence; }
  [[nodiscard]] bool is_mapping() const noexcept { return kind_ == Kind::kMapping; }

  /// A scalar's text with quotes and escapes resolved; empty for lists and mappings.
  [[nodiscard]] std::string_view text() const noexcept {
    if (is_sequence() || is_mapping()) return {};
    return {static_cast<const char*>(data_), size_};
  }
  /// True for a scalar in quotes or a block scalar: its text is text, never a number or boolean.
  [[nodiscard]] bool quoted() const noexcept { return quoted_; }
  /// True for a scalar under the tag `!ignore`: Envoy drops keys that carry it, values included.
  [[nodiscard]] bool ignored() const noexcept { return ignored_; }

  /// The values of a sequence, in order; empty for every other kind.
  [[nodiscard]] std::span<const Node> items() const noexcept;
  /// The pairs of a mapping, in the order of the file; empty for every other kind.
  [[nodiscard]] std::span<const Member> members() const noexcept;
  /// The value under `key`, or nullptr. Linear in the number of keys.
  [[nodiscard]] const Node* find(std::string_view key) const noexcept;

  /// Where the value stands. For lists and mappings: their first byte.
  [[nodiscard]] Mark at() const;

 private:
  friend class TreeBuilder;
  Kind kind_ = Kind::kNull;
  bool quoted_ = false;
  bool ignored_ = false;
  std::uint32_t size_ = 0;  ///< bytes of text, items or members
  std::uint32_t line_ = 0;
  std::uint32_t column_ = 0;
  std::uint32_t length_ = 1;
  /// The text, Node[size_] or Member[size_] by kind, in the arena of the tree.
  const void* data_ = nullptr;
  const std::shared_ptr<const Source>* source_ = nullptr;
};

/// One `key: value` of a mapping.
struct Member {
  Node key;  ///< always a scalar
  Node value;
};

/// What a file may contain. The defaults are Merlon's own language: plain data only.
struct ParseOptions {
  /// Anchors and aliases. Every use of an alias counts all nodes below it against `nodes_max`.
  bool allow_aliases = false;
  bool allow_tags = false;       ///< `!tag`; the tag is dropped, the value stays
  bool allow_documents = false;  ///< more than one document in a file
  std::size_t bytes_max = 16UL * 1024 * 1024;
  std::size_t nodes_max = 2'000'000;  ///< about 120 bytes of memory each
  std::uint32_t depth_max = 64;       ///< lists and mappings inside each other
};

/// A parsed file, or a file with all that it includes. Owns every node and its text.
class Tree {
 public:
  /// Parses `source`. Problems that leave the rest readable (a key given twice: the first counts;
  /// an anchor, a tag) are errors in `out`, and the tree is still returned so that all other errors
  /// can be found too: check `out.ok()`. nullptr when there is nothing to go on with (syntax, a
  /// limit).
  [[nodiscard]] static std::shared_ptr<const Tree> parse(std::shared_ptr<const Source> source,
                                                         const ParseOptions& options,
                                                         Diagnostics& out);

  /// The first document; a null node when the file is empty.
  [[nodiscard]] const Node& root() const noexcept { return documents_.front(); }
  /// Every document, at least one.
  [[nodiscard]] std::span<const Node> documents() const noexcept { return documents_; }
  /// The files it was read from: the main one, then what it includes, in order of inclusion.
  [[nodiscard]] std::span<const std::shared_ptr<const Source>> sources() const noexcept {
    return sources_;
  }
  /// Nodes in the tree, each alias counted with all that it stands for.
  [[nodiscard]] std::size_t node_count() const noexcept { return node_count_; }

  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;
  ~Tree();

 private:
  friend class TreeBuilder;
  struct Arena;
  Tree();

  std::unique_ptr<Arena> arena_;
  std::vector<Node> documents_;
  std::vector<std::shared_ptr<const Source>> sources_;
  std::size_t node_count_ = 0;
};

/// Reads a file whole. The error says why it could not be read, without the path.
using ReadFile = std::function<std::expected<std::string, std::string>(const std::string& path)>;

/// The default ReadFile: regular files only (no FIFO, no device), at most 16 MiB.
[[nodiscard]] std::expected<std::string, std::string> read_regular_file(const std::string& path);

/// As read_regular_file for `name` below `directory`; a symbolic link may not lead out of it.
[[nodiscard]] std::expected<std::string, std::string> read_file_below(const std::string& directory,
                                                                      const std::string& name);

/// Loads Merlon's configuration from `path` with all that it includes.
///
/// The root may have `include: [NAME…]`: file names relative to the directory of the main file
/// (in included files too), without `..`. At most 256 files; none twice. Roots merge: a key that
/// holds a list in both concatenates, mappings unite and may not share a key, anything else may be
/// given once. The key `include` itself is not in the result.
/// `read` opens every file; without it, the main file is read by read_regular_file and the others
/// by read_file_below. nullptr when the main file cannot be used; other errors are in `out` alone.
[[nodiscard]] std::shared_ptr<const Tree> load(const std::string& path, Diagnostics& out,
                                               const ReadFile& read = {});

/// As `load`, for text that is already there; includes go through `read`.
[[nodiscard]] std::shared_ptr<const Tree> load_text(std::string path, std::string text,
                                                    Diagnostics& out, const ReadFile& read = {});

/// The directory part of `path`, "." when it has none.
[[nodiscard]] std::string directory_of(std::string_view path);

/// The node at a dotted place such as "routes.orders.rate_limit": mappings are entered by key,
/// lists by the `name` of an item, or else by its number from 0. Keys may contain dots themselves.
/// nullptr when there is none.
[[nodiscard]] const Node* resolve(const Node& root, std::string_view place);

}  // namespace merlon::config
