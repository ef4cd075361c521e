#include "config/tree.h"

#include <memory_resource>
#include <utility>

#include "config/tree_arena.h"
#include "config/tree_builder.h"

namespace merlon::config {

std::string_view describe(Kind kind) noexcept {
  switch (kind) {
    case Kind::kNull:
      return "nothing";
    case Kind::kScalar:
      return "a scalar";
    case Kind::kSequence:
      return "a list";
    case Kind::kMapping:
      return "a mapping";
  }
  return "nothing";
}

std::span<const Node> Node::items() const noexcept {
  if (kind_ != Kind::kSequence) return {};
  return {static_cast<const Node*>(data_), size_};
}

std::span<const Member> Node::members() const noexcept {
  if (kind_ != Kind::kMapping) return {};
  return {static_cast<const Member*>(data_), size_};
}

const Node* Node::find(std::string_view key) const noexcept {
  for (const Member& member : members()) {
    if (member.key.text() == key) return &member.value;
  }
  return nullptr;
}

Mark Node::at() const {
  if (source_ == nullptr) return {};
  return {.source = *source_, .line = line_, .column = column_, .length = length_};
}

Tree::Tree() : arena_(std::make_unique<Arena>()) {}
Tree::~Tree() = default;

std::shared_ptr<const Tree> Tree::parse(std::shared_ptr<const Source> source,
                                        const ParseOptions& options, Diagnostics& out) {
  TreeBuilder builder(options, out);
  std::optional<std::vector<Node>> documents = builder.parse(std::move(source));
  if (!documents.has_value()) return nullptr;
  return builder.finish(std::move(*documents));
}

namespace {

/// The child of `node` that `segment` names, or nullptr.
const Node* child(const Node& node, std::string_view segment) {
  if (const Node* value = node.find(segment)) return value;
  std::size_t index = 0;
  for (const Node& item : node.items()) {
    const Node* name = item.find("name");
    const bool matches = name != nullptr && name->is_scalar() ? name->text() == segment
                                                              : std::to_string(index) == segment;
    if (matches) return &item;
    ++index;
  }
  return nullptr;
}

/// Tries every way to cut the place at dots: keys may contain dots. `steps` bounds the tries, since
/// a file may be made so that most of them fail late.
const Node* resolve_within(const Node& node, std::string_view place, std::size_t& steps) {
  for (std::size_t end = place.find('.');; end = place.find('.', end + 1)) {
    if (steps == 0) return nullptr;
    --steps;
    const Node* below = child(node, place.substr(0, end));
    if (end == std::string_view::npos) return below;
    if (below != nullptr) {
      if (const Node* found = resolve_within(*below, place.substr(end + 1), steps)) return found;
    }
  }
}

}  // namespace

const Node* resolve(const Node& root, std::string_view place) {
  constexpr std::size_t kPlaceBytesMax = 1024;  // also bounds the recursion
  if (place.empty() || place.size() > kPlaceBytesMax) return nullptr;
  std::size_t steps = 4096;
  return resolve_within(root, place, steps);
}

}  // namespace merlon::config
