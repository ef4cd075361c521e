#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "config/text_scan.h"
#include "config/tree.h"

struct yaml_event_s;
struct yaml_parser_s;

namespace merlon::config {

/// Builds a Tree out of one file or several; inner part of tree.cc and load.cc.
class TreeBuilder {
 public:
  TreeBuilder(const ParseOptions& options, Diagnostics& out);

  /// Parses one file; its documents stay valid as long as the tree. nullopt when there is nothing
  /// to go on with. Limits count over all files of the tree.
  std::optional<std::vector<Node>> parse(std::shared_ptr<const Source> source);

  /// New nodes from old ones, placed where `like` is.
  Node make_sequence(std::span<const Node> items, const Node& like);
  Node make_mapping(std::span<const Member> members, const Node& like);
  /// Removes members whose key was given before, with an error that names both places.
  void refuse_duplicates(std::vector<Member>& members);

  /// Reports unless there were too many already.
  void error(const Mark& at, std::string message, std::string help = {});

  /// Hands the tree over; the builder is spent.
  std::shared_ptr<const Tree> finish(std::vector<Node> documents);

 private:
  /// A list or mapping whose end was not seen yet. Its nodes are the tail of `pending_`.
  struct Frame {
    Node node;
    std::size_t first = 0;         ///< index of its first child in pending_
    std::size_t nodes_before = 0;  ///< node_count_ when it began
    std::uint32_t height = 0;      ///< levels of lists and mappings below it
    std::string anchor;
  };
  /// What an alias stands for.
  struct Anchored {
    Node node;
    std::size_t nodes = 1;
    std::uint32_t height = 0;
  };

  bool run(yaml_parser_s& parser);
  bool take(const yaml_event_s& event);
  bool open(const yaml_event_s& event, Kind kind);
  bool close();
  bool scalar(const yaml_event_s& event);
  bool alias(const yaml_event_s& event);
  bool begin_document(const yaml_event_s& event);
  bool count(std::size_t nodes, const Node& where);
  void put(const Node& node, std::uint32_t height);
  /// Fills `members_` with the usable pairs of keys and values.
  void pair_up(std::span<const Node> flat);
  bool key_is_usable(const Node& key);
  void judge_properties(const Node& node, const unsigned char* anchor, const unsigned char* tag);
  void report_syntax(const yaml_parser_s& parser);
  Node blank(const yaml_event_s& event, Kind kind) const;
  Mark mark(Position position, std::uint32_t length = 1) const;

  const ParseOptions options_;
  Diagnostics& out_;
  std::shared_ptr<Tree> tree_;
  std::size_t bytes_ = 0;
  std::size_t errors_ = 0;

  // Of the file being parsed.
  const std::shared_ptr<const Source>* source_ = nullptr;
  std::optional<Positions> positions_;
  std::vector<Frame> frames_;
  std::vector<Node> pending_;
  std::vector<Member> members_;  ///< of the mapping being closed; kept for its capacity
  std::vector<Node> documents_;
  std::unordered_map<std::string, Anchored> anchors_;
  bool stop_ = false;  ///< a second document that is not allowed: the first one is whole
};

}  // namespace merlon::config
