#include "gateway/router.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "http/path.h"

namespace merlon::gateway {
namespace {

constexpr std::uint32_t kNone = UINT32_MAX;

/// FNV-1a, begun with the node, so that one table holds the edges of all nodes. The names in it
/// come from the configuration alone: what clients send can only be looked up, and the table is at
/// most half full, so that a hash without key is safe.
std::uint32_t edge_hash(std::uint32_t node, std::string_view segment) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325ULL ^ (node * 0x9e3779b97f4a7c15ULL);
  for (const char c : segment) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  }
  return static_cast<std::uint32_t>(hash ^ (hash >> 32U));
}

/// The first method that both let through, GET with its HEAD; "" when there is none.
std::string shared_method(const Route& a, const Route& b) {
  for (const std::string& method : a.methods) {
    if (b.allows(http::method_of(method), method)) return method;
  }
  for (const std::string& method : b.methods) {
    if (a.allows(http::method_of(method), method)) return method;
  }
  return {};
}

std::string allow_text(const std::vector<const Route*>& routes) {
  std::vector<std::string_view> methods;
  const auto add = [&](std::string_view method) {
    if (std::ranges::find(methods, method) == methods.end()) methods.push_back(method);
  };
  for (const Route* route : routes) {
    for (const std::string& method : route->methods) {
      add(method);
      if (method == "GET") add("HEAD");
    }
  }
  std::string text;
  for (const std::string_view method : methods) {
    if (!text.empty()) text += ", ";
    text += method;
  }
  return text;
}

struct HostHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view host) const noexcept {
    return std::hash<std::string_view>{}(host);
  }
};
using Hosts = std::unordered_map<std::string, std::uint32_t, HostHash, std::equal_to<>>;

}  // namespace

/// The frozen form: nodes and edges in two arrays.
class RouteTable final : public Router {
 public:
  explicit RouteTable(RouterBuilder& from) {
    freeze_hosts(from);
    std::size_t edges = 0;
    for (const auto& node : from.nodes_) edges += node.literals.size();
    edges_.resize(std::bit_ceil(edges * 2 + 1));
    nodes_.reserve(from.nodes_.size());
    for (auto& node : from.nodes_) {
      const auto index = static_cast<std::uint32_t>(nodes_.size());
      nodes_.push_back({.parameter = node.parameter,
                        .exact = freeze_leaf(std::move(node.exact)),
                        .rest = freeze_leaf(std::move(node.rest))});
      for (const auto& [segment, child] : node.literals) insert_edge(index, segment, child);
    }
  }

  RouteMatch match(std::string_view host, std::string_view path, http::Method method,
                   std::string_view method_text) const noexcept override {
    const std::uint32_t root = root_of(host);
    if (root == kNone || path.empty() || path.front() != '/') return {};
    const std::uint32_t found = walk(root, path, 0);
    if (found == kNone) return {};
    const Leaf& leaf = leaves_[found];
    for (const Route* route : leaf.routes) {
      if (!route->allows(method, method_text)) continue;
      return {.route = route, .path_known = true, .allow = leaf.allow, .refused_by = nullptr};
    }
    return {.route = nullptr,
            .path_known = true,
            .allow = leaf.allow,
            .refused_by = leaf.routes.front()};
  }

 private:
  struct Leaf {
    std::vector<const Route*> routes;
    std::string allow;
  };
  struct Node {
    std::uint32_t parameter = kNone;  ///< node
    std::uint32_t exact = kNone;      ///< leaf
    std::uint32_t rest = kNone;       ///< leaf
  };
  struct Edge {
    std::uint32_t node = kNone;  ///< kNone: a free place
    std::uint32_t hash = 0;
    std::uint32_t text_at = 0;
    std::uint32_t text_size = 0;
    std::uint32_t child = 0;
  };

  void freeze_hosts(const RouterBuilder& from) {
    for (const auto& [host, root] : from.roots_) {
      if (host == "*") {
        any_ = root;
      } else if (host.starts_with("*.")) {
        suffixes_.emplace(host.substr(2), root);
      } else {
        exact_.emplace(host, root);
      }
    }
  }

  std::uint32_t freeze_leaf(std::vector<const Route*> routes) {
    if (routes.empty()) return kNone;
    std::string allow = allow_text(routes);
    leaves_.push_back({.routes = std::move(routes), .allow = std::move(allow)});
    return static_cast<std::uint32_t>(leaves_.size() - 1);
  }

  void insert_edge(std::uint32_t node, std::string_view segment, std::uint32_t child) {
    const std::uint32_t hash = edge_hash(node, segment);
    std::size_t at = hash & (edges_.size() - 1);
    while (edges_[at].node != kNone) at = (at + 1) & (edges_.size() - 1);
    edges_[at] = {.node = node,
                  .hash = hash,
                  .text_at = static_cast<std::uint32_t>(text_.size()),
                  .text_size = static_cast<std::uint32_t>(segment.size()),
                  .child = child};
    text_ += segment;
  }

  [[nodiscard]] std::uint32_t find_edge(std::uint32_t node,
                                        std::string_view segment) const noexcept {
    const std::uint32_t hash = edge_hash(node, segment);
    for (std::size_t at = hash & (edges_.size() - 1); edges_[at].node != kNone;
         at = (at + 1) & (edges_.size() - 1)) {
      const Edge& edge = edges_[at];
      if (edge.hash == hash && edge.node == node &&
          segment == std::string_view(text_).substr(edge.text_at, edge.text_size)) {
        return edge.child;
      }
    }
    return kNone;
  }

  [[nodiscard]] std::uint32_t root_of(std::string_view host) const noexcept {
    if (const auto found = exact_.find(host); found != exact_.end()) return found->second;
    if (!suffixes_.empty()) {
      for (std::size_t dot = host.find('.'); dot != std::string_view::npos;
           dot = host.find('.', dot + 1)) {
        const auto found = suffixes_.find(host.substr(dot + 1));
        if (found != suffixes_.end()) return found->second;
      }
    }
    return any_;
  }

  /// The leaf of the best pattern below `node` for what follows in `path` from `at`, a slash or the
  /// end; kNone when no pattern fits.
  // NOLINTNEXTLINE(misc-no-recursion): as deep as patterns are, kPatternSegmentsMax.
  [[nodiscard]] std::uint32_t walk(std::uint32_t node, std::string_view path,
                                   std::size_t at) const noexcept {
    const Node& here = nodes_[node];
    if (at == path.size()) return here.exact != kNone ? here.exact : here.rest;
    const std::size_t end = std::min(path.find('/', at + 1), path.size());
    const std::string_view segment = path.substr(at + 1, end - at - 1);
    if (const std::uint32_t child = find_edge(node, segment); child != kNone) {
      if (const std::uint32_t leaf = walk(child, path, end); leaf != kNone) return leaf;
    }
    if (here.parameter != kNone && !segment.empty()) {
      if (const std::uint32_t leaf = walk(here.parameter, path, end); leaf != kNone) return leaf;
    }
    return here.rest;
  }

  Hosts exact_;
  Hosts suffixes_;  ///< without "*."
  std::uint32_t any_ = kNone;
  std::vector<Node> nodes_;
  std::vector<Leaf> leaves_;
  std::vector<Edge> edges_;  ///< open addressing; a power of two, at most half full
  std::string text_;         ///< the literals of all edges
};

RouterBuilder::RouterBuilder() = default;
RouterBuilder::~RouterBuilder() = default;

std::uint32_t RouterBuilder::descend(std::uint32_t from, const PatternSegment& segment) {
  const auto next = static_cast<std::uint32_t>(nodes_.size());
  std::uint32_t child = next;
  if (segment.parameter) {
    if (nodes_[from].parameter == kNone) nodes_[from].parameter = next;
    child = nodes_[from].parameter;
  } else {
    child = nodes_[from].literals.try_emplace(segment.literal, next).first->second;
  }
  if (child == next) nodes_.emplace_back();
  return child;
}

std::optional<RouterBuilder::Conflict> RouterBuilder::add(std::string_view host,
                                                          const PathPattern& path,
                                                          const Route& route) {
  const auto next = static_cast<std::uint32_t>(nodes_.size());
  const auto [root, is_new] = roots_.try_emplace(std::string(host), next);
  if (is_new) nodes_.emplace_back().root = true;
  std::uint32_t node = root->second;
  for (const PatternSegment& segment : path.segments) node = descend(node, segment);
  Leaf& leaf = path.rest ? nodes_[node].rest : nodes_[node].exact;
  for (const Route* other : leaf) {
    std::string method = shared_method(*other, route);
    if (!method.empty()) return Conflict{.with = other, .method = std::move(method)};
  }
  leaf.push_back(&route);
  return std::nullopt;
}

bool RouterBuilder::rest_is_shadowed(const Node& node) const {
  const auto slash = node.literals.find("");
  // Nothing ends at a root: every path has a slash.
  if (node.exact.empty() && !node.root) return false;
  if (slash == node.literals.end() || node.parameter == kNone) return false;
  return !nodes_[slash->second].exact.empty() && !nodes_[node.parameter].rest.empty();
}

std::vector<const Route*> RouterBuilder::unreachable() const {
  std::vector<const Route*> routes;
  for (const Node& node : nodes_) {
    if (node.rest.empty() || !rest_is_shadowed(node)) continue;
    for (const Route* route : node.rest) {
      // With empty segments waived, "/a//b" still is for this pattern alone.
      if (!route->waived_oddities.contains(http::PathOddity::kEmptySegment)) {
        routes.push_back(route);
      }
    }
  }
  return routes;
}

std::unique_ptr<const Router> RouterBuilder::build() { return std::make_unique<RouteTable>(*this); }

}  // namespace merlon::gateway
