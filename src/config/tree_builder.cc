#include "config/tree_builder.h"

#include <fmt/format.h>
#include <yaml.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_set>
#include <utility>

#include "config/shown.h"
#include "config/tree_arena.h"

namespace merlon::config {
namespace {

constexpr std::size_t kErrorsMax = 1000;  // beyond it, a file is no configuration of ours at all
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

std::string_view view(const unsigned char* text) {
  return text == nullptr ? std::string_view{} : reinterpret_cast<const char*>(text);
}

/// The plain scalars of the core schema that mean nothing (YAML 1.2 §10.3.2).
bool means_null(std::string_view text) {
  return text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL";
}

/// libyaml compares each %TAG directive of a document with all before it: 2 MB of them took 14 s.
bool has_many_tag_directives(std::string_view text) {
  constexpr int kDirectivesMax = 64;
  int count = text.starts_with("%TAG") ? 1 : 0;
  for (std::size_t at = 0; count <= kDirectivesMax; ++count) {
    at = text.find("\n%TAG", at);
    if (at == std::string_view::npos) return false;
    ++at;
  }
  return true;
}

/// Frees what libyaml holds, whichever way the parse ends.
struct Parser {
  yaml_parser_t yaml{};
  bool usable = yaml_parser_initialize(&yaml) == 1;
  Parser() = default;
  Parser(const Parser&) = delete;
  Parser& operator=(const Parser&) = delete;
  ~Parser() {
    if (usable) yaml_parser_delete(&yaml);
  }
};

struct Event {
  yaml_event_t yaml{};
  Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { yaml_event_delete(&yaml); }
};

/// What libyaml says, and what to say to whoever wrote the file.
struct Advice {
  std::string_view problem;
  std::string_view message;
  std::string_view help;
};

constexpr std::array kAdvice = {
    Advice{"mapping values are not allowed in this context", "a `:` is not expected here",
           "indent keys of one mapping alike; text that contains `: ` needs quotes"},
    Advice{"did not find expected key", "expected a `key:` here",
           "indent it exactly as the keys above it"},
    Advice{"could not find expected ':'", "a `:` is missing after this key",
           "write `key: value`, each pair on a line of its own"},
    Advice{"did not find expected '-' indicator", "expected an item that starts with `- ` here",
           "indent every item of a list alike"},
    Advice{"did not find expected ',' or ']'", "this list is not closed",
           "put `,` between items and `]` at the end"},
    Advice{"did not find expected ',' or '}'", "this mapping is not closed",
           "put `,` between pairs and `}` at the end"},
    Advice{"did not find expected alphabetic or numeric character",
           "text may not start with `*` or `&`", "put the text in quotes"},
    Advice{"did not find expected node content", "a value may not start like this",
           "put it in quotes, or write the one that is missing"},
    Advice{"found unexpected end of stream", "the file ends within quotes", "close the quotes"},
    Advice{"found unexpected document indicator", "a document marker stands within quotes",
           "close the quotes"},
    Advice{"found unknown escape character", "this escape does not exist",
           "in double quotes a backslash is written twice; single quotes take it as it is"},
    Advice{"block sequence entries are not allowed in this context",
           "a list item (`- `) is not expected here", "start the list on a line of its own"},
    Advice{"did not find expected <document start>", "the file goes on after its value ended",
           "is a line indented less than it should be?"},
};

/// A `{` or `[` within text, as in `{ path: /users/{id} }`.
bool opens_within_text(std::string_view line, std::size_t column) noexcept {
  if (column == 0 || column >= line.size()) return false;
  constexpr std::string_view kBetweenValues = " \t\"'[]{},";
  const bool opens = line[column] == '{' || line[column] == '[';
  return opens && !kBetweenValues.contains(line[column - 1]);
}

}  // namespace

TreeBuilder::TreeBuilder(const ParseOptions& options, Diagnostics& out)
    : options_(options), out_(out), tree_(std::shared_ptr<Tree>(new Tree())) {
  tree_->sources_.reserve(
      257);  // nodes point at its elements: it must never grow beyond 1 + 256 included
}

Mark TreeBuilder::mark(Position position, std::uint32_t length) const {
  return {.source = *source_, .line = position.line, .column = position.column, .length = length};
}

void TreeBuilder::error(const Mark& at, std::string message, std::string help) {
  if (++errors_ <= kErrorsMax) out_.error(at, std::move(message), std::move(help));
}

std::optional<std::vector<Node>> TreeBuilder::parse(std::shared_ptr<const Source> source) {
  if (tree_->sources_.size() == tree_->sources_.capacity()) return std::nullopt;
  source_ = &tree_->sources_.emplace_back(std::move(source));
  std::string_view text = (*source_)->text;
  bytes_ += text.size();
  if (bytes_ > options_.bytes_max) {
    error(mark({}), fmt::format("more than {} bytes of configuration", options_.bytes_max));
    return std::nullopt;
  }
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF")) {
    error(mark({}), "this file is UTF-16", "save it as UTF-8");
    return std::nullopt;
  }
  const std::size_t skipped = text.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0;
  text.remove_prefix(skipped);
  positions_.emplace(text);
  if (const auto bad = find_bad_byte(text)) {
    error(mark(positions_->of_byte(bad->offset_bytes)), bad->problem,
          "a configuration is UTF-8 text without control characters");
    return std::nullopt;
  }
  if (has_many_tag_directives(text)) {
    error(mark({}), "more than 64 %TAG directives");
    return std::nullopt;
  }
  Parser parser;
  if (!parser.usable) return std::nullopt;
  yaml_parser_set_encoding(&parser.yaml, YAML_UTF8_ENCODING);
  yaml_parser_set_input_string(&parser.yaml, reinterpret_cast<const unsigned char*>(text.data()),
                               text.size());
  frames_.clear();
  pending_.clear();
  documents_.clear();
  stop_ = false;
  if (!run(parser.yaml)) return std::nullopt;
  if (documents_.empty()) {
    Node nothing;
    nothing.source_ = source_;
    nothing.line_ = 1;
    nothing.column_ = 1;
    documents_.push_back(nothing);
  }
  return std::move(documents_);
}

bool TreeBuilder::run(yaml_parser_t& parser) {
  while (!stop_) {
    Event event;
    if (yaml_parser_parse(&parser, &event.yaml) == 0) {
      report_syntax(parser);
      return false;
    }
    if (event.yaml.type == YAML_STREAM_END_EVENT) return true;
    if (!take(event.yaml)) return false;
  }
  return true;
}

bool TreeBuilder::take(const yaml_event_t& event) {
  switch (event.type) {
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
      return true;
    case YAML_DOCUMENT_START_EVENT:
      return begin_document(event);
    case YAML_DOCUMENT_END_EVENT:
      documents_.push_back(pending_.back());
      pending_.clear();
      return true;
    case YAML_ALIAS_EVENT:
      return alias(event);
    case YAML_SCALAR_EVENT:
      return scalar(event);
    case YAML_SEQUENCE_START_EVENT:
      return open(event, Kind::kSequence);
    case YAML_MAPPING_START_EVENT:
      return open(event, Kind::kMapping);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
      return close();
  }
  return false;
}

Node TreeBuilder::blank(const yaml_event_t& event, Kind kind) const {
  const yaml_mark_t& from = event.start_mark;
  const Position start = positions_->locate(from.index, from.line, from.column);
  Node node;
  node.kind_ = kind;
  node.source_ = source_;
  node.line_ = start.line;
  node.column_ = start.column;
  if (kind == Kind::kScalar && event.end_mark.line == from.line) {
    const yaml_mark_t& to = event.end_mark;
    const Position end = positions_->locate(to.index, to.line, to.column);
    node.length_ = std::max<std::uint32_t>(1, end.column - start.column);
  }
  return node;
}

bool TreeBuilder::begin_document(const yaml_event_t& event) {
  anchors_.clear();
  if (documents_.empty() || options_.allow_documents) return true;
  error(blank(event, Kind::kNull).at(), "a second document starts here",
        "a configuration is one document: use `include` for several files");
  stop_ = true;
  return true;
}

bool TreeBuilder::count(std::size_t nodes, const Node& where) {
  tree_->node_count_ += nodes;
  if (tree_->node_count_ <= options_.nodes_max) return true;
  error(where.at(), fmt::format("more than {} values, aliases counted with all that they stand for",
                                options_.nodes_max));
  return false;
}

void TreeBuilder::judge_properties(const Node& node, const unsigned char* anchor,
                                   const unsigned char* tag) {
  if (anchor != nullptr && !options_.allow_aliases) {
    error(node.at(), fmt::format("anchors are not part of the language: {}", shown(view(anchor))),
          "write the value where it is needed");
  }
  if (tag != nullptr && !options_.allow_tags) {
    error(node.at(), fmt::format("tags are not part of the language: {}", shown(view(tag))),
          "remove it: each key has its own type");
  }
}

void TreeBuilder::put(const Node& node, std::uint32_t height) {
  pending_.push_back(node);
  if (!frames_.empty()) frames_.back().height = std::max(frames_.back().height, height);
}

bool TreeBuilder::open(const yaml_event_t& event, Kind kind) {
  Frame frame;
  frame.node = blank(event, kind);
  if (!count(1, frame.node)) return false;
  if (frames_.size() >= options_.depth_max) {
    error(frame.node.at(),
          fmt::format("more than {} lists and mappings inside each other", options_.depth_max));
    return false;
  }
  const bool is_list = kind == Kind::kSequence;
  const unsigned char* anchor =
      is_list ? event.data.sequence_start.anchor : event.data.mapping_start.anchor;
  judge_properties(frame.node, anchor,
                   is_list ? event.data.sequence_start.tag : event.data.mapping_start.tag);
  frame.first = pending_.size();
  frame.nodes_before = tree_->node_count_ - 1;
  frame.anchor = view(anchor);
  frames_.push_back(std::move(frame));
  return true;
}

bool TreeBuilder::close() {
  const Frame frame = std::move(frames_.back());
  frames_.pop_back();
  const std::span<const Node> children = std::span(pending_).subspan(frame.first);
  Node node;
  if (frame.node.kind() == Kind::kSequence) {
    node = make_sequence(children, frame.node);
  } else {
    pair_up(children);
    refuse_duplicates(members_);
    node = make_mapping(members_, frame.node);
  }
  pending_.resize(frame.first);
  if (!frame.anchor.empty()) {
    anchors_[frame.anchor] = {
        .node = node, .nodes = tree_->node_count_ - frame.nodes_before, .height = frame.height + 1};
  }
  put(node, frame.height + 1);
  return true;
}

bool TreeBuilder::scalar(const yaml_event_t& event) {
  const auto& scalar = event.data.scalar;
  Node node = blank(event, Kind::kScalar);
  if (!count(1, node)) return false;
  judge_properties(node, scalar.anchor, scalar.tag);
  const std::string_view text(reinterpret_cast<const char*>(scalar.value), scalar.length);
  node.ignored_ = view(scalar.tag) == "!ignore";
  node.quoted_ = scalar.style != YAML_PLAIN_SCALAR_STYLE || view(scalar.tag).ends_with(":str");
  if (!node.quoted_ && means_null(text)) node.kind_ = Kind::kNull;
  if (!text.empty()) {
    char* copy = static_cast<char*>(tree_->arena_->memory.allocate(text.size(), 1));
    std::memcpy(copy, text.data(), text.size());
    node.data_ = copy;
    node.size_ = static_cast<std::uint32_t>(text.size());
  }
  if (scalar.anchor != nullptr) {
    anchors_[std::string(view(scalar.anchor))] = {.node = node, .nodes = 1, .height = 0};
  }
  put(node, 0);
  return true;
}

bool TreeBuilder::alias(const yaml_event_t& event) {
  const std::string name(view(event.data.alias.anchor));
  const Node here = blank(event, Kind::kNull);
  if (!options_.allow_aliases) {
    error(here.at(), fmt::format("aliases are not part of the language: {}", shown(name)),
          "write the value where it is needed");
  }
  const auto found = anchors_.find(name);
  if (found == anchors_.end()) {
    error(here.at(), fmt::format("no anchor {} ends before this alias", shown(name)));
    put(here, 0);
    return count(1, here);
  }
  const Anchored& anchored = found->second;
  if (!count(anchored.nodes, here)) return false;
  if (frames_.size() + anchored.height > options_.depth_max) {
    error(here.at(),
          fmt::format("more than {} lists and mappings inside each other", options_.depth_max));
    return false;
  }
  put(anchored.node, anchored.height);
  return true;
}

bool TreeBuilder::key_is_usable(const Node& key) {
  if (key.is_sequence() || key.is_mapping()) {
    error(key.at(), fmt::format("a key must be a word, not {}", describe(key.kind())),
          "text that contains `{`, `[` or `? ` needs quotes");
    return false;
  }
  if (key.text().empty()) {
    error(key.at(), "a key is missing before this `:`");
    return false;
  }
  if (key.text() == "<<" && !key.quoted() && !options_.allow_aliases) {
    error(key.at(), "merge keys are not part of the language: `<<`",
          "write the keys where they are needed");
    return false;
  }
  return true;
}

void TreeBuilder::pair_up(std::span<const Node> flat) {
  members_.clear();
  for (std::size_t i = 0; i + 1 < flat.size(); i += 2) {
    if (!key_is_usable(flat[i])) continue;
    members_.push_back({.key = flat[i], .value = flat[i + 1]});
    members_.back().key.kind_ = Kind::kScalar;
  }
}

void TreeBuilder::refuse_duplicates(std::vector<Member>& members) {
  constexpr std::size_t kSmall = 16;  // below it, comparing all pairs is cheaper than a table
  std::unordered_map<std::string_view, std::size_t> seen;
  const bool small = members.size() <= kSmall;
  const auto earlier = [&](std::size_t i, std::size_t kept) -> const Member* {
    const std::string_view key = members[i].key.text();
    if (!small) {
      const auto [entry, is_new] = seen.try_emplace(key, kept);
      return is_new ? nullptr : &members[entry->second];
    }
    for (std::size_t j = 0; j < kept; ++j) {
      if (members[j].key.text() == key) return &members[j];
    }
    return nullptr;
  };
  std::size_t kept = 0;
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (const Member* first = earlier(i, kept)) {
      error(members[i].key.at(), fmt::format("{} is given twice", shown(members[i].key.text())),
            fmt::format("the first is at {}: keep one", first->key.at().to_string()));
    } else {
      members[kept++] = members[i];
    }
  }
  members.resize(kept);
}

Node TreeBuilder::make_sequence(std::span<const Node> items, const Node& like) {
  Node node = like;
  node.kind_ = Kind::kSequence;
  node.size_ = static_cast<std::uint32_t>(items.size());
  auto* copy = static_cast<Node*>(
      tree_->arena_->memory.allocate(sizeof(Node) * items.size(), alignof(Node)));
  std::uninitialized_copy(items.begin(), items.end(), copy);
  node.data_ = copy;
  return node;
}

Node TreeBuilder::make_mapping(std::span<const Member> members, const Node& like) {
  Node node = like;
  node.kind_ = Kind::kMapping;
  node.size_ = static_cast<std::uint32_t>(members.size());
  auto* copy = static_cast<Member*>(
      tree_->arena_->memory.allocate(sizeof(Member) * members.size(), alignof(Member)));
  std::uninitialized_copy(members.begin(), members.end(), copy);
  node.data_ = copy;
  return node;
}

void TreeBuilder::report_syntax(const yaml_parser_t& parser) {
  const std::string_view problem = parser.problem == nullptr ? "out of memory" : parser.problem;
  const yaml_mark_t& at = parser.problem_mark;
  const Position position = positions_->locate(at.index, at.line, at.column);
  if (problem == "found character that cannot start any token") {
    const std::string_view line = (*source_)->line(position.line).substr(position.column - 1);
    const bool tab = line.starts_with('\t');
    error(mark(position), tab ? "a tab is used as indentation" : "text may not start like this",
          tab ? "indent with spaces" : "put the text in quotes");
    return;
  }
  const std::string_view line = (*source_)->line(position.line);
  if (problem.starts_with("did not find expected ','") &&
      opens_within_text(line, position.column - 1)) {
    error(mark(position),
          fmt::format("text in braces or brackets may not contain `{}`", line[position.column - 1]),
          "put the text in quotes");
    return;
  }
  std::string where;
  if (parser.context != nullptr && parser.context_mark.line != at.line) {
    where = fmt::format("what this belongs to starts in line {}; ", parser.context_mark.line + 1);
  }
  for (const Advice& advice : kAdvice) {
    if (problem != advice.problem) continue;
    error(mark(position), std::string(advice.message), where + std::string(advice.help));
    return;
  }
  error(mark(position), fmt::format("not YAML: {}", problem), where + "fix the syntax here");
}

std::shared_ptr<const Tree> TreeBuilder::finish(std::vector<Node> documents) {
  if (errors_ > kErrorsMax) {
    out_.error(documents.front().at(),
               fmt::format("{} more errors like these are not shown", errors_ - kErrorsMax));
  }
  tree_->documents_ = std::move(documents);
  return std::move(tree_);
}

}  // namespace merlon::config
