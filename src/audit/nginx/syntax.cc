#include "audit/nginx/syntax.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "audit/nginx/directives.h"
#include "audit/nginx/known_files.h"
#include "audit/nginx/lexer.h"

namespace merlon::audit::nginx {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

/// A file while it is read.
struct Reading {
  const std::shared_ptr<const Source>& source;
  Lexer lexer;
  std::vector<Directive*> open;  ///< the blocks around what comes next, the innermost last
};

class Parser {
 public:
  Parser(Tree& tree, IncludeFinder& includes, const SyntaxLimits& limits)
      : tree_(tree), includes_(includes), limits_(limits) {}

  void file(const std::shared_ptr<const Source>& source, Directive& into, const Directive* via);

 private:
  void problem(Problem::Kind kind, Mark at, std::string what, const Directive* directive = nullptr);
  Directive* add(Directive& parent, const std::shared_ptr<const Source>& source,
                 const Directive* via, std::vector<Word>& words);
  void include(Directive& directive);
  bool drop_byte_order_mark(const std::shared_ptr<const Source>& source, std::vector<Word>& words);
  void close_block(Reading& reading);
  bool open_block(Reading& reading, Directive& block);
  void close_at_end(Reading& reading);
  void lua(Lexer& lexer, Directive& directive);
  void split_lost_semicolon(Directive& parent, const std::shared_ptr<const Source>& source,
                            const Directive* via, std::vector<Word>& words);

  Tree& tree_;
  IncludeFinder& includes_;
  const SyntaxLimits& limits_;
  std::vector<const Source*> open_files_;  // to see loops
  std::unordered_set<const Source*> seen_;
  std::uint32_t depth_ = 0;
  bool exhausted_ = false;
};

void Parser::problem(Problem::Kind kind, Mark at, std::string what, const Directive* directive) {
  if (tree_.problems.size() >= limits_.problems_max) return;
  tree_.problems.push_back({kind, std::move(at), std::move(what), directive});
}

Mark mark_of(const std::shared_ptr<const Source>& source, const Word& word) {
  return {source, word.line, word.column, std::max(1U, word.length)};
}

Directive* Parser::add(Directive& parent, const std::shared_ptr<const Source>& source,
                       const Directive* via, std::vector<Word>& words) {
  if (++tree_.statements > limits_.statements_max) {
    if (!std::exchange(exhausted_, true)) {
      problem(Problem::Kind::kRefused, mark_of(source, words.front()),
              fmt::format("more than {} statements: the rest is not read", limits_.statements_max));
    }
    return nullptr;
  }
  Directive& made = tree_.directives.emplace_back();
  made.name = words.front();
  made.args.assign(words.begin() + 1, words.end());
  made.parent = &parent;
  made.via = via;
  made.file = source;
  parent.body.push_back(&made);
  return &made;
}

// A statement that runs over several lines and holds a known directive at the start of a later
// one has most likely lost its ";" there. It is cut there, so that the rest is still read.
void Parser::split_lost_semicolon(Directive& parent, const std::shared_ptr<const Source>& source,
                                  const Directive* via, std::vector<Word>& words) {
  if (parent.inside == kData || parent.inside == kOpaque) return;
  if (takes_arguments(words.front().text, words.size() - 1)) return;
  for (std::size_t i = 1; i < words.size(); ++i) {
    const bool starts_line = words[i].line != words[i - 1].line;
    if (!starts_line || words[i].quoted || !is_known(words[i].text)) continue;
    problem(Problem::Kind::kSyntax, mark_of(source, words[i - 1]),
            fmt::format("\"{}\" has no \";\": \"{}\" on line {} is read as its argument",
                        words.front().text, words[i].text, words[i].line));
    std::vector<Word> first(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(i));
    if (Directive* made = add(parent, source, via, first)) made->end_line = words[i - 1].line;
    words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(i));
    split_lost_semicolon(parent, source, via, words);
    return;
  }
}

/// False when nothing but the mark stood there.
bool Parser::drop_byte_order_mark(const std::shared_ptr<const Source>& source,
                                  std::vector<Word>& words) {
  const bool marked = !words.empty() && words.front().line == 1 && words.front().column == 1 &&
                      words.front().text.starts_with(kByteOrderMark);
  if (!marked) return true;
  problem(Problem::Kind::kSyntax, mark_of(source, words.front()),
          "the file starts with a byte order mark, which nginx takes for part of a name");
  words.front().text.remove_prefix(kByteOrderMark.size());
  if (words.front().text.empty()) words.erase(words.begin());
  return !words.empty();
}

void Parser::close_block(Reading& reading) {
  const std::uint32_t line = reading.lexer.line();
  if (reading.open.size() == 1) {
    const Word brace{.text = {}, .line = line, .column = 1};
    problem(Problem::Kind::kSyntax, mark_of(reading.source, brace),
            "unexpected \"}\": there is no block to close");
    return;
  }
  reading.open.back()->end_line = line;
  reading.open.pop_back();
  --depth_;
}

/// False when it is nested too deep for the file to be read on.
bool Parser::open_block(Reading& reading, Directive& block) {
  block.is_block = true;
  block.inside = context_inside(reading.open.back()->inside, block);
  if (holds_lua(block.name.text)) {
    lua(reading.lexer, block);
    return true;
  }
  if (depth_ >= limits_.depth_max) {
    problem(Problem::Kind::kRefused, block.mark(),
            fmt::format("blocks are nested deeper than {}: the rest of the file is not read",
                        limits_.depth_max));
    reading.open.back()->incomplete = true;
    return false;
  }
  ++depth_;
  reading.open.push_back(&block);
  return true;
}

/// Closes the blocks that the file left open.
void Parser::close_at_end(Reading& reading) {
  for (; reading.open.size() > 1; reading.open.pop_back(), --depth_) {
    Directive& block = *reading.open.back();
    block.end_line = reading.lexer.line();
    block.incomplete = true;
    if (exhausted_) continue;
    problem(Problem::Kind::kSyntax, block.mark(),
            fmt::format("the block of \"{}\" is not closed: \"}}\" is missing", block.name.text));
  }
}

void Parser::file(const std::shared_ptr<const Source>& source, Directive& into,
                  const Directive* via) {
  if (seen_.insert(source.get()).second) tree_.files.push_back(source);
  open_files_.push_back(source.get());
  Reading reading{source, Lexer(source->text, tree_.unescaped), {&into}};
  std::vector<Word> words;
  while (!exhausted_) {
    const Lexer::End end = reading.lexer.next(words);
    if (!drop_byte_order_mark(source, words)) continue;
    Directive& parent = *reading.open.back();
    if (end == Lexer::End::kError) {
      problem(Problem::Kind::kSyntax, mark_of(source, reading.lexer.error_word()),
              reading.lexer.error());
      parent.incomplete = true;
      if (words.empty()) continue;
    }
    if (end == Lexer::End::kText) {
      if (words.empty()) break;
      problem(Problem::Kind::kSyntax, mark_of(source, words.front()),
              "unexpected end of file: the statement has neither \";\" nor \"{\"");
      parent.incomplete = true;
      break;
    }
    if (end == Lexer::End::kBlockCloses) {
      close_block(reading);
      continue;
    }
    split_lost_semicolon(parent, source, via, words);
    Directive* made = add(parent, source, via, words);
    if (made == nullptr) break;
    made->end_line = reading.lexer.line();
    if (end == Lexer::End::kBlockOpens) {
      if (!open_block(reading, *made)) break;
      continue;
    }
    const bool includes = made->is("include") && made->args.size() == 1;
    if (includes && parent.inside != kOpaque) include(*made);
  }
  close_at_end(reading);
  open_files_.pop_back();
}

void Parser::lua(Lexer& lexer, Directive& directive) {
  if (!lexer.lua_block(directive.raw)) {
    problem(Problem::Kind::kSyntax, directive.mark(),
            fmt::format("the Lua block of \"{}\" is not closed", directive.name.text));
  }
  directive.end_line = lexer.line();
}

void Parser::include(Directive& directive) {
  Directive& parent = *directive.parent;
  const std::string_view pattern = directive.arg(0);
  const auto refuse = [&](Problem::Kind kind, std::string why) {
    problem(kind, directive.mark(directive.args[0]), std::move(why), &directive);
    if (kind != Problem::Kind::kIncludeEmpty) parent.incomplete = true;
  };
  if (pattern.find('$') != std::string_view::npos) {
    return refuse(Problem::Kind::kInclude,
                  "an include takes no variables: nginx looks for a file of this very name");
  }
  if (open_files_.size() >= limits_.include_depth_max) {
    return refuse(Problem::Kind::kRefused,
                  fmt::format("includes are nested deeper than {}", limits_.include_depth_max));
  }
  Included found = includes_.find(pattern, *directive.file);
  if (const auto known = found.files.empty() ? well_known_file(pattern) : nullptr) {
    problem(Problem::Kind::kIncludeEmpty, directive.mark(directive.args[0]),
            fmt::format("include \"{}\" is not among the files: it is taken as Certbot installs it",
                        pattern),
            &directive);
    found = {};
    found.files.push_back(known);
  }
  for (const std::string& why : found.refusals) refuse(Problem::Kind::kInclude, why);
  if (found.files.empty() && found.refusals.empty()) {
    parent.lacks_folder = parent.lacks_folder || found.folder_missing;
    return refuse(
        found.has_pattern ? Problem::Kind::kIncludeEmpty : Problem::Kind::kInclude,
        fmt::format("include \"{}\" {}", pattern,
                    found.has_pattern ? "matches no file" : "names a file that was not found"));
  }
  for (const auto& file_found : found.files) {
    if (std::ranges::find(open_files_, file_found.get()) != open_files_.end()) {
      refuse(Problem::Kind::kInclude,
             fmt::format("include \"{}\" leads back to {}", pattern, file_found->path));
      continue;
    }
    if (++tree_.includes > limits_.includes_max) {
      return refuse(Problem::Kind::kRefused,
                    fmt::format("more than {} includes", limits_.includes_max));
    }
    file(file_found, parent, &directive);
  }
}

}  // namespace

Mark Directive::mark() const { return mark_of(file, name); }
Mark Directive::mark(const Word& word) const { return mark_of(file, word); }

bool holds_lua(std::string_view directive) noexcept { return directive.ends_with("_by_lua_block"); }

void parse(Tree& tree, const std::shared_ptr<const Source>& main, IncludeFinder& includes,
           const SyntaxLimits& limits) {
  tree.root.file = main;
  tree.root.is_block = true;
  if (tree.root.inside == kNowhere) tree.root.inside = kMain;
  Parser(tree, includes, limits).file(main, tree.root, nullptr);
}

}  // namespace merlon::audit::nginx
