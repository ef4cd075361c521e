#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/diagnostics.h"

/// The grammar of nginx configuration: words, statements, blocks and includes, with places.
/// Knows no directive but `include` and the `*_by_lua_block` family, whose bodies are not nginx's.
namespace merlon::audit::nginx {

/// One word of a statement, unquoted and unescaped the way nginx does it.
struct Word {
  std::string_view text;
  std::uint32_t line = 0;
  std::uint32_t column = 0;
  std::uint32_t length = 1;  ///< bytes as written, quotes included
  bool quoted = false;
};

/// Where a directive stands: one bit each, so that sets of contexts are cheap.
enum Context : std::uint32_t {
  kNowhere = 0,
  kMain = 1U << 0,
  kEvents = 1U << 1,
  kHttp = 1U << 2,
  kServer = 1U << 3,
  kLocation = 1U << 4,
  kUpstream = 1U << 5,
  kIfInServer = 1U << 6,
  kIfInLocation = 1U << 7,
  kLimitExcept = 1U << 8,
  kStream = 1U << 9,
  kStreamServer = 1U << 10,
  kStreamUpstream = 1U << 11,
  kMail = 1U << 12,
  kMailServer = 1U << 13,
  kData = 1U << 14,    ///< entries of map, geo, types …: words, not directives
  kOpaque = 1U << 15,  ///< a block of something unknown: read, not judged
};

/// A statement, with its block when it has one. Owned by the Tree; pointers are stable.
struct Directive {
  Word name;
  std::vector<Word> args;
  std::vector<Directive*> body;    ///< in order; what an include brought in follows the include
  Directive* parent = nullptr;     ///< the block it stands in; the root has none
  const Directive* via = nullptr;  ///< the include that brought its file in
  std::shared_ptr<const Source> file;
  std::string_view raw;             ///< the text of a Lua block, without its braces
  std::uint32_t end_line = 0;       ///< of the closing brace or semicolon
  std::uint32_t inside = kNowhere;  ///< the context of its body
  bool is_block = false;
  bool known = false;         ///< found in the table of directives for its context
  bool refused = false;       ///< nginx would not take it as it is written: nothing follows from it
  bool incomplete = false;    ///< something in its body could not be read
  bool lacks_folder = false;  ///< a glob in its body names a folder that is not among the files

  [[nodiscard]] bool is(std::string_view directive) const noexcept {
    return name.text == directive;
  }
  /// Argument `i`, or "".
  [[nodiscard]] std::string_view arg(std::size_t i) const noexcept {
    return i < args.size() ? args[i].text : std::string_view{};
  }
  [[nodiscard]] Mark mark() const;
  [[nodiscard]] Mark mark(const Word& word) const;
};

/// Something that nginx would refuse, or that could not be read.
struct Problem {
  enum class Kind : std::uint8_t { kSyntax, kInclude, kIncludeEmpty, kRefused, kMeaning };
  Kind kind = Kind::kSyntax;
  Mark at;
  std::string what;
  const Directive* directive = nullptr;  ///< the include or directive in question, if any
};

/// What an `include` leads to.
struct Included {
  std::vector<std::shared_ptr<const Source>> files;
  bool has_pattern = false;           ///< a glob: matching nothing is no error
  bool folder_missing = false;        ///< of a glob: not even its folder is among the files
  std::vector<std::string> refusals;  ///< files that were found and not read, and why
};

/// Finds the texts that an include names. Implementations bound what they read.
class IncludeFinder {
 public:
  virtual ~IncludeFinder() = default;
  [[nodiscard]] virtual Included find(std::string_view pattern, const Source& from) = 0;
};

/// A parsed configuration. Holds every text it points into; neither copied nor moved.
struct Tree {
  Tree() = default;
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;

  Directive root;  ///< its body is the main file's
  std::deque<Directive> directives;
  std::deque<std::string> unescaped;
  std::vector<std::shared_ptr<const Source>> files;  ///< each once, the main file first
  std::vector<Problem> problems;
  std::uint64_t statements = 0;
  std::uint64_t includes = 0;
};

struct SyntaxLimits {
  std::uint32_t depth_max = 64;          ///< of blocks
  std::uint32_t include_depth_max = 32;  ///< of files within files
  std::uint32_t includes_max = 10'000;   ///< files taken in, in all
  std::uint32_t statements_max = 500'000;
  std::uint32_t problems_max = 200;
};

/// Parses `main` and what it includes into `tree`. Goes on after an error as far as that makes
/// sense: every error is in `tree.problems`. Never fails otherwise; bounded by `limits`.
void parse(Tree& tree, const std::shared_ptr<const Source>& main, IncludeFinder& includes,
           const SyntaxLimits& limits = {});

/// True for a directive whose block holds Lua, such as content_by_lua_block.
[[nodiscard]] bool holds_lua(std::string_view directive) noexcept;

}  // namespace merlon::audit::nginx
