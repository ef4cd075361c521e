// YAML of others: aliases, tags and several documents, within their limits.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "config/tree.h"

namespace {

using merlon::config::Node;

void require(bool holds) {
  if (!holds) std::abort();
}

/// Visits every node as often as it is reachable: no more often than was counted.
void visit(const Node& node, std::size_t depth, std::size_t& visits) {
  ++visits;
  require(depth <= 64);
  for (const Node& item : node.items()) visit(item, depth + 1, visits);
  for (const auto& member : node.members()) {
    require(member.key.is_scalar());
    require(node.find(member.key.text()) == &member.value);
    ++visits;
    visit(member.value, depth + 1, visits);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  merlon::Diagnostics out;
  auto source = std::make_shared<merlon::Source>();
  source->path = "x.yaml";
  source->text.assign(reinterpret_cast<const char*>(data), size);
  const auto tree = merlon::config::Tree::parse(
      source,
      {.allow_aliases = true, .allow_tags = true, .allow_documents = true, .nodes_max = 20'000},
      out);
  require(tree != nullptr || !out.ok());
  if (tree == nullptr) return 0;
  std::size_t visits = 0;
  for (const Node& document : tree->documents()) {
    visit(document, 0, visits);
    require(document.at().known());
  }
  require(visits <= tree->node_count() + 1);
  return 0;
}
