#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gateway/patterns.h"
#include "gateway/plan.h"

/// How routes are found.
///
/// The most specific host pattern that fits decides alone: the exact name, then the longest
/// `*.suffix`, then `*`. What another pattern would have served is no fallback, so that adding a
/// host never opens paths of a wider pattern on it. The paths of that host form a tree of segments;
/// at each segment a literal goes before `{name}`, that before `/**`, and what leads nowhere is
/// taken back. Each node of the tree is visited once at most, and the depth is bounded by
/// kPatternSegmentsMax. Then the methods decide among the routes of that one pattern.
namespace merlon::gateway {

/// Collects routes, then makes the Router. Not thread-safe.
class RouterBuilder {
 public:
  /// Another route has the same pattern and lets the same method through.
  struct Conflict {
    const Route* with = nullptr;
    std::string method;
  };

  RouterBuilder();
  ~RouterBuilder();
  RouterBuilder(const RouterBuilder&) = delete;
  RouterBuilder& operator=(const RouterBuilder&) = delete;

  /// Adds `route` under a host and a path pattern. `route` must outlive the router and keep its
  /// methods. With a conflict nothing is added.
  std::optional<Conflict> add(std::string_view host, const PathPattern& path, const Route& route);

  /// The routes whose `/**` no request can reach, since more specific patterns of the same host
  /// take everything that it fits. One entry for each such host.
  [[nodiscard]] std::vector<const Route*> unreachable() const;

  /// Ends the building: call it once.
  [[nodiscard]] std::unique_ptr<const Router> build();

 private:
  static constexpr std::uint32_t kNone = UINT32_MAX;
  using Leaf = std::vector<const Route*>;
  struct Node {
    std::unordered_map<std::string, std::uint32_t> literals;
    std::uint32_t parameter = kNone;
    Leaf exact;
    Leaf rest;
    bool root = false;
  };

  std::uint32_t descend(std::uint32_t from, const PatternSegment& segment);
  [[nodiscard]] bool rest_is_shadowed(const Node& node) const;

  std::vector<Node> nodes_;
  std::map<std::string, std::uint32_t, std::less<>> roots_;  ///< by host pattern

  friend class RouteTable;
};

}  // namespace merlon::gateway
