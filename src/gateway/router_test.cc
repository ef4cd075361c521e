#include "gateway/router.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace merlon::gateway {
namespace {

struct Given {
  const char* name;
  const char* host;
  const char* path;
  std::vector<std::string> methods;
};

/// Routes and the router over them.
class Table {
 public:
  explicit Table(const std::vector<Given>& given) {
    RouterBuilder builder;
    for (const Given& g : given) {
      auto route = std::make_unique<Route>();
      route->name = g.name;
      route->methods = g.methods;
      const auto path = parse_path_pattern(g.path);
      EXPECT_TRUE(path.has_value()) << g.path;
      if (!path.has_value()) continue;
      EXPECT_FALSE(builder.add(g.host, *path, *route).has_value()) << g.name;
      routes_.push_back(std::move(route));
    }
    for (const Route* route : builder.unreachable()) unreachable_.push_back(route->name);
    router_ = builder.build();
  }

  [[nodiscard]] RouteMatch match(std::string_view host, std::string_view path,
                                 std::string_view method = "GET") const {
    return router_->match(host, path, http::method_of(method), method);
  }
  /// The name of the route, "405" or "404".
  [[nodiscard]] std::string answer(std::string_view host, std::string_view path,
                                   std::string_view method = "GET") const {
    const RouteMatch found = match(host, path, method);
    if (found.route != nullptr) return found.route->name;
    return found.path_known ? "405" : "404";
  }
  [[nodiscard]] const std::vector<std::string>& unreachable() const { return unreachable_; }

 private:
  std::vector<std::unique_ptr<Route>> routes_;
  std::unique_ptr<const Router> router_;
  std::vector<std::string> unreachable_;
};

const Table& table() {
  static const Table table({
      {"root", "a.example", "/", {"GET"}},
      {"literal", "a.example", "/users/me", {"GET"}},
      {"parameter", "a.example", "/users/{id}", {"GET"}},
      {"orders", "a.example", "/users/{id}/orders", {"GET"}},
      {"deep", "a.example", "/users/me/orders/{order}/lines", {"GET"}},
      {"below", "a.example", "/users/**", {"GET"}},
      {"slash", "a.example", "/dir/", {"GET"}},
      {"dir", "a.example", "/dir", {"GET"}},
      {"files", "a.example", "/files/**", {"GET"}},
      {"files_exact", "a.example", "/files", {"GET"}},
      {"read", "a.example", "/split", {"GET"}},
      {"write", "a.example", "/split", {"POST", "PURGE"}},
      {"encoded", "a.example", "/enc/{name}/end", {"GET"}},
      {"wild", "*.b.example", "/**", {"GET"}},
      {"wilder", "*.deep.b.example", "/only", {"GET"}},
      {"exact", "x.b.example", "/exact", {"GET"}},
      {"any", "*", "/any/{thing}", {"GET"}},
      {"address", "2001:db8::1", "/**", {"GET"}},
  });
  return table;
}

struct Case {
  const char* name;
  const char* host;
  const char* path;
  const char* method;
  const char* want;
};
constexpr Case kCases[] = {
    {"root", "a.example", "/", "GET", "root"},
    {"literal_before_parameter", "a.example", "/users/me", "GET", "literal"},
    {"parameter_before_rest", "a.example", "/users/7", "GET", "parameter"},
    {"taken_back_from_the_literal", "a.example", "/users/me/orders", "GET", "orders"},
    {"deepest_literal", "a.example", "/users/me/orders/7/lines", "GET", "deep"},
    {"taken_back_to_rest", "a.example", "/users/me/orders/7/rows", "GET", "below"},
    {"rest_below", "a.example", "/users/7/8/9", "GET", "below"},
    {"rest_matches_the_path_before_it", "a.example", "/users", "GET", "below"},
    {"rest_matches_its_slash", "a.example", "/users/", "GET", "below"},
    {"rest_is_cut_at_a_segment", "a.example", "/usersx", "GET", "404"},
    {"final_slash_is_another_path", "a.example", "/dir/", "GET", "slash"},
    {"without_final_slash", "a.example", "/dir", "GET", "dir"},
    {"no_parameter_is_empty", "a.example", "/enc//end", "GET", "404"},
    {"exact_before_its_rest", "a.example", "/files", "GET", "files_exact"},
    {"case_matters", "a.example", "/Files", "GET", "404"},
    {"encoded_slash_is_data", "a.example", "/enc/a%2Fb/end", "GET", "encoded"},
    {"methods_tell_routes_apart", "a.example", "/split", "GET", "read"},
    {"head_comes_with_get", "a.example", "/split", "HEAD", "read"},
    {"other_route_of_the_match", "a.example", "/split", "POST", "write"},
    {"any_token_is_a_method", "a.example", "/split", "PURGE", "write"},
    {"no_route_has_it", "a.example", "/split", "DELETE", "405"},
    {"methods_are_case_sensitive", "a.example", "/split", "get", "405"},
    {"a_literal_decides_over_methods", "a.example", "/users/me", "POST", "405"},
    {"one_label", "y.b.example", "/z", "GET", "wild"},
    {"several_labels", "p.q.b.example", "/z", "GET", "wild"},
    {"the_suffix_itself_does_not_fit", "b.example", "/z", "GET", "404"},
    {"longest_suffix", "y.deep.b.example", "/only", "GET", "wilder"},
    {"longest_suffix_decides_alone", "y.deep.b.example", "/else", "GET", "404"},
    {"exact_host_decides_alone", "x.b.example", "/z", "GET", "404"},
    {"exact_host", "x.b.example", "/exact", "GET", "exact"},
    {"any_host", "unknown.example", "/any/1", "GET", "any"},
    {"any_host_is_no_fallback", "a.example", "/any/1", "GET", "404"},
    {"address", "2001:db8::1", "/z", "GET", "address"},
    {"asterisk_matches_nothing", "2001:db8::1", "*", "OPTIONS", "404"},
    {"empty_host", "", "/any/1", "GET", "any"},
};
class Match : public testing::TestWithParam<Case> {};
TEST_P(Match, FollowsPrecedence) {
  const Case& c = GetParam();
  EXPECT_EQ(table().answer(c.host, c.path, c.method), c.want);
}
INSTANTIATE_TEST_SUITE_P(Router, Match, testing::ValuesIn(kCases),
                         [](const auto& test) { return test.param.name; });

TEST(Router, AllowIsTheUnionOfTheMatch) {
  const RouteMatch refused = table().match("a.example", "/split", "DELETE");
  EXPECT_EQ(refused.allow, "GET, HEAD, POST, PURGE");
  ASSERT_NE(refused.refused_by, nullptr);
  EXPECT_EQ(refused.refused_by->name, "read");
  EXPECT_EQ(table().match("a.example", "/nothing").refused_by, nullptr);
}

TEST(Router, EqualPatternsConflictInOneMethod) {
  RouterBuilder builder;
  Route first;
  first.methods = {"GET", "POST"};
  Route second;
  second.methods = {"PUT", "POST"};
  Route head;
  head.methods = {"HEAD"};
  const auto path = parse_path_pattern("/a/{x}");
  const auto other_name = parse_path_pattern("/a/{y}");
  ASSERT_TRUE(path.has_value() && other_name.has_value());
  EXPECT_FALSE(builder.add("h.example", *path, first).has_value());
  const auto conflict = builder.add("h.example", *other_name, second);
  ASSERT_TRUE(conflict.has_value());
  EXPECT_EQ(conflict->with, &first);
  EXPECT_EQ(conflict->method, "POST");
  EXPECT_TRUE(builder.add("h.example", *path, head).has_value()) << "GET brings its HEAD";
  EXPECT_FALSE(builder.add("i.example", *other_name, second).has_value());
}

TEST(Router, SeesRestThatNothingReaches) {
  const Table shadowed({{"here", "h", "/a", {"GET"}},
                        {"slash", "h", "/a/", {"GET"}},
                        {"below", "h", "/a/{x}/**", {"GET"}},
                        {"lost", "h", "/a/**", {"GET"}}});
  EXPECT_EQ(shadowed.unreachable(), std::vector<std::string>{"lost"});
  const Table root({{"slash", "h", "/", {"GET"}},
                    {"below", "h", "/{x}/**", {"GET"}},
                    {"lost", "h", "/**", {"GET"}}});
  EXPECT_EQ(root.unreachable(), std::vector<std::string>{"lost"});
  EXPECT_TRUE(table().unreachable().empty());
}

TEST(Router, EveryCutOfAPathIsAnswered) {
  const std::string path = "/users/me/orders/7/lines";
  for (std::size_t size = 0; size <= path.size(); ++size) {
    const std::string_view cut = std::string_view(path).substr(0, size);
    const std::string answer = table().answer("a.example", cut);
    EXPECT_EQ(answer == "404", size == 0 || (size > 1 && size < 6)) << cut << " gave " << answer;
  }
}

TEST(Router, WithoutRoutesNothingMatches) {
  RouterBuilder builder;
  const auto router = builder.build();
  EXPECT_FALSE(router->match("a", "/", http::Method::kGet, "GET").path_known);
}

struct PatternCase {
  const char* name;
  std::string_view text;
  std::string_view problem;  ///< a part of the message; empty: the pattern is right
};
class Patterns : public testing::TestWithParam<PatternCase> {};
TEST_P(Patterns, AreJudged) {
  const auto parsed = parse_path_pattern(GetParam().text);
  ASSERT_EQ(parsed.has_value(), GetParam().problem.empty());
  if (!parsed.has_value()) {
    EXPECT_NE(parsed.error().find(GetParam().problem), std::string::npos) << parsed.error();
  }
}
constexpr PatternCase kPatternCases[] = {
    {"root", "/", ""},
    {"everything", "/**", ""},
    {"final_slash", "/a/", ""},
    {"parameter", "/a/{b_1}/c", ""},
    {"empty", "", "begins with `/`"},
    {"relative", "a/b", "begins with `/`"},
    {"dot_segment", "/a/../b", "dot"},
    {"encoded_dot_segment", "/a/%2e%2E/b", "dot"},
    {"lower_case_triplet", "/a%c3", "write `/a%C3`"},
    {"needless_triplet", "/%61", "write `/a`"},
    {"broken_triplet", "/a%4", "percent"},
    {"star_alone", "/a/*/b", "`*` is allowed only"},
    {"rest_in_the_middle", "/a/**/b", "`*` is allowed only"},
    {"rest_of_a_segment", "/a**", "`*` is allowed only"},
    {"part_of_a_segment", "/a/x{id}", "whole segment"},
    {"parameter_without_name", "/a/{}", "name in"},
    {"same_parameter_twice", "/{a}/{a}", "same name"},
    {"space", "/a b", "character"},
    {"query", "/a?b", "character"},
    {"empty_before_rest", "/a//**", "`//` before"},
};
INSTANTIATE_TEST_SUITE_P(Router, Patterns, testing::ValuesIn(kPatternCases),
                         [](const auto& test) { return test.param.name; });

TEST(HostPatterns, AreCanonical) {
  for (const char* good : {"*", "a.example", "*.b.example", "192.0.2.1", "2001:db8::1", "x_y.z"}) {
    EXPECT_EQ(problem_of_host_pattern(good), "") << good;
  }
  for (const char* bad :
       {"", "A.example", "a.example.", "a.example:80", "*.*.b", "a.*.b", "*b.example", "*.",
        "[::1]", "2001:DB8::1", "*.192.0.2.1", "1.2.3", "a b", "a..b", "user@a", "**"}) {
    EXPECT_NE(problem_of_host_pattern(bad), "") << bad;
  }
}

TEST(Prefixes, CoverEveryPathOfThePattern) {
  const auto starts = [](const char* pattern, const char* prefix) {
    const auto parsed = parse_path_pattern(pattern);
    return parsed.has_value() && always_starts_with(*parsed, prefix);
  };
  EXPECT_TRUE(starts("/users/{id}/orders", "/users"));
  EXPECT_TRUE(starts("/a/b/**", "/a/b"));
  EXPECT_TRUE(starts("/a/b", "/a/b"));
  EXPECT_FALSE(starts("/usersx", "/users")) << "cut at a segment only";
  EXPECT_FALSE(starts("/{id}/b", "/a"));
  EXPECT_FALSE(starts("/**", "/a"));
  EXPECT_FALSE(starts("/a", "/a/b"));
  EXPECT_EQ(problem_of_prefix("/a/b"), "");
  for (const char* bad : {"", "a", "/", "/a/", "/a//b", "/a;b", "/{x}", "/a/**", "/%61"}) {
    EXPECT_NE(problem_of_prefix(bad), "") << bad;
  }
}

}  // namespace
}  // namespace merlon::gateway
