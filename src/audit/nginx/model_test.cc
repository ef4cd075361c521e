#include "audit/nginx/model.h"

#include <gtest/gtest.h>

#include "audit/nginx/directives.h"
#include "audit/nginx/files.h"
#include "audit/nginx/variables.h"

namespace merlon::audit::nginx {
namespace {

/// A model of `text`, which must hold no error.
void build(Model& model, const std::string& text) {
  NoIncludes includes;
  parse(model.tree, std::make_shared<const Source>(Source{"t.conf", text}), includes);
  check_directives(model.tree, model.unknown);
  ASSERT_TRUE(model.tree.problems.empty()) << model.tree.problems[0].what;
  build_model(model);
}

std::string where(const Location* location) {
  return location == nullptr ? "-" : std::string(location->path);
}

TEST(Model, FindsLocationsInNginxsOrder) {
  Model model;
  build(model, R"(http { server {
    location = /exact { return 200; }
    location / { return 200; }
    location /a { return 200; location /a/nested { return 200; } location ~ \.x$ { return 200; } }
    location ^~ /first { return 200; }
    location ~ \.php$ { return 200; }
    location ~* \.JPG$ { return 200; }
    location @named { return 200; }
  } })");
  const Server& server = model.servers.front();
  EXPECT_EQ(where(model.match(server, "/exact")), "/exact");
  EXPECT_EQ(where(model.match(server, "/exacts")), "/");
  EXPECT_EQ(where(model.match(server, "/ab")), "/a");
  EXPECT_EQ(where(model.match(server, "/a/nested/1")), "/a/nested");
  EXPECT_EQ(where(model.match(server, "/a/y.x")), "\\.x$");
  EXPECT_EQ(where(model.match(server, "/a/y.php")), "\\.php$");
  EXPECT_EQ(where(model.match(server, "/first/y.php")), "/first");
  EXPECT_EQ(where(model.match(server, "/y.jpg")), "\\.JPG$");
}

TEST(Model, FillsInListen) {
  Model model;
  build(model, R"(http {
    server { server_name a; }
    server { listen 127.0.0.1:8080 default_server; listen [::1]:443 ssl http2; listen unix:/r.sock; }
    server { listen 0.0.0.0:80; listen *:8443 ssl proxy_protocol; listen localhost; }
  })");
  EXPECT_EQ(model.servers[0].listens[0].socket(), "*:80");
  const auto& second = model.servers[1].listens;
  EXPECT_EQ(second[0].socket(), "127.0.0.1:8080");
  EXPECT_TRUE(second[0].default_server);
  EXPECT_EQ(second[1].socket(), "[::1]:443");
  EXPECT_TRUE(second[1].ssl && second[1].http2 && second[1].is_loopback());
  EXPECT_TRUE(second[2].is_unix());
  EXPECT_TRUE(model.servers[1].is_local());
  const auto& third = model.servers[2].listens;
  EXPECT_EQ(third[0].socket(), "*:80");
  EXPECT_TRUE(third[1].proxy_protocol);
  EXPECT_TRUE(third[2].is_loopback());
  ASSERT_FALSE(model.sockets.empty());
  EXPECT_EQ(model.sockets[0].servers.size(), 2U);
}

TEST(Model, PutsTheDefaultServerFirst) {
  Model model;
  build(model, R"(http {
    server { listen 80; server_name a; }
    server { listen 80; server_name b; }
    server { listen 80 default_server; server_name c; }
  })");
  ASSERT_EQ(model.sockets.size(), 1U);
  EXPECT_EQ(model.sockets[0].servers[0].first->label(), "c");
  EXPECT_TRUE(model.sockets[0].explicit_default);
}

TEST(Scope, TakesTheWholeSetOfTheNearestLevel) {
  Model model;
  build(model, R"(http { add_header A 1; add_header B 2; gzip on; server {
    location /in { return 200; }
    location /out { add_header C 3; gzip off; location /out/in { return 200; } }
  } })");
  const Scope& in = *model.locations[0].scope;
  const Scope& deep = *model.locations[2].scope;
  EXPECT_EQ(in.effective_all("add_header").size(), 2U);
  ASSERT_EQ(deep.effective_all("add_header").size(), 1U);
  EXPECT_EQ(deep.effective("add_header")->arg(0), "C");
  EXPECT_TRUE(in.flag("gzip", false));
  EXPECT_FALSE(deep.flag("gzip", true));
  EXPECT_FALSE(in.may_inherit_unseen());
}

TEST(Scope, OfAFragmentMayInheritWhatIsNotInTheFiles) {
  Model model;
  model.tree.root.inside = kHttp;
  build(model, "server { location / { return 200; } }");
  EXPECT_TRUE(model.locations[0].scope->may_inherit_unseen());
  EXPECT_FALSE(model.framed);
}

struct TaintCase {
  const char* name;
  const char* text;
  bool client;
  bool line_breaks;
};

const TaintCase kTaints[] = {
    {"constant", "plain", false, false},
    {"argument", "$arg_x", true, false},
    {"header", "${http_x_y}", true, false},
    {"uri", "$uri", true, true},
    {"request_uri", "$request_uri", true, false},
    {"set_constant", "$fixed", false, false},
    {"set_tainted", "$loose", true, false},
    {"set_twice", "$either", true, false},
    {"map_constant", "$chosen", false, false},
    {"map_echo", "$echoed", true, false},
    {"map_guarded", "$guarded", false, false},
    {"map_of_map", "$second", false, false},
    {"capture_wide", "$wide", true, true},
    {"capture_narrow", "$narrow", true, false},
    {"capture_finite", "$lang", false, false},
    {"mixed", "a-$fixed-$arg_x", true, false},
    {"self", "$self", false, false},
};

class TaintOf : public testing::TestWithParam<TaintCase> {};

TEST_P(TaintOf, FollowsDefinitions) {
  Model model;
  build(model, R"(http {
    map $arg_x $chosen { default a; b c; }
    map $arg_x $echoed { default $arg_x; }
    map $http_origin $guarded { default ""; https://a.example $http_origin; }
    map $chosen $second { default $chosen; }
    server {
      set $fixed orders;
      set $self "";
      set $self "$self-a";
      location ~ ^/(?<lang>en|fr)/(?<narrow>\w+)/(?<wide>[^/]*)$ {
        set $loose $arg_x;
        set $either a;
        if ($arg_y) { set $either $arg_y; }
        return 200;
      }
    }
  })");
  const Variables variables(model);
  const Scope& scope = *model.locations[0].scope;
  const Origin origin = variables.origin(GetParam().text, scope, *scope.own("return"));
  EXPECT_EQ(origin.client(), GetParam().client) << origin.source;
  EXPECT_EQ(origin.line_breaks(), GetParam().line_breaks);
}

INSTANTIATE_TEST_SUITE_P(Nginx, TaintOf, testing::ValuesIn(kTaints),
                         [](const auto& test) { return test.param.name; });

TEST(Variables, AnswerInBoundedTimeWhereMapsFanOut) {
  std::string text = "http {\n";
  for (int i = 0; i < 20; ++i) {
    text += "map $a $v" + std::to_string(i) + " { default \"";
    for (int j = 0; j < 30; ++j) text += "$v" + std::to_string(i + 1);
    text += "\"; }\n";
  }
  text += "server { location / { return 200 $v0; } } }";
  Model model;
  build(model, text);
  const Variables variables(model);
  const Scope& scope = *model.locations[0].scope;
  const Origin origin = variables.origin("$v0", scope, *scope.own("return"));
  EXPECT_NE(origin.taint & kUnseen, 0U);
  EXPECT_FALSE(variables.depends_on("$v0", [](std::string_view) { return false; }, scope));
}

}  // namespace
}  // namespace merlon::audit::nginx
