#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cstdlib>
#include <iterator>

#include "config/schema.h"
#include "config/tree.h"

// Budget: 10,000 routes are parsed in 60 ms and read in as much again, so that a reload of the
// largest configuration is felt by nobody.
namespace merlon::config {
namespace {

std::string routes_text(std::int64_t count) {
  std::string text = "version: 1\nroutes:\n";
  for (std::int64_t i = 0; i < count; ++i) {
    fmt::format_to(std::back_inserter(text),
                   "  - name: orders-{0}\n"
                   "    match: {{ host: api{0}.example.com, path: /api/v1/orders/{0}/** }}\n"
                   "    methods: [GET, POST]\n"
                   "    auth: {{ jwt: staff, scopes: [orders.read] }}\n"
                   "    rate_limit: {{ rate: 10/s, burst: 20, per: client }}\n"
                   "    upstream: orders\n",
                   i);
  }
  return text;
}

std::shared_ptr<const Tree> parse_or_abort(const std::shared_ptr<const Source>& source) {
  Diagnostics out;
  auto tree = Tree::parse(source, {}, out);
  if (tree == nullptr || !out.ok()) std::abort();
  return tree;
}

void BM_ParseRoutes(benchmark::State& state) {
  const auto source =
      std::make_shared<const Source>(Source{.path = "m.yaml", .text = routes_text(state.range(0))});
  for (auto _ : state) {
    auto tree = parse_or_abort(source);
    benchmark::DoNotOptimize(tree);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(source->text.size()));
}
BENCHMARK(BM_ParseRoutes)->Arg(100)->Arg(10'000)->Unit(benchmark::kMillisecond);

struct Match {
  std::string host;
  std::string path;
};
struct Limit {
  Rate rate;
  std::uint32_t burst = 0;
  std::string per;
};
struct Auth {
  std::string jwt;
  std::vector<std::string> scopes;
};
struct Route {
  std::string name;
  Match match;
  std::vector<std::string> methods;
  Auth auth;
  std::vector<Limit> rate_limit;
  Located<std::string> upstream;
  Mark at;
};
struct File {
  std::uint32_t version = 0;
  std::vector<Route> routes;
};

const Object<Route>& route_schema() {
  static const auto match = Object<Match>("match", "What a route is for.")
                                .required("host", &Match::host, text(1, 253), "Host.")
                                .required("path", &Match::path, text(1, 1024), "Path.");
  static const auto limit = Object<Limit>("limit", "How often.")
                                .required("rate", &Limit::rate, rate(), "Rate.")
                                .field("burst", &Limit::burst, integer(0, 1000), "Burst.")
                                .field("per", &Limit::per, name(), "Per.");
  static const auto auth = Object<Auth>("auth", "Who.")
                               .required("jwt", &Auth::jwt, name(), "Issuer.")
                               .field("scopes", &Auth::scopes, list_of(text()), "Scopes.");
  static const auto route =
      Object<Route>("route", "A route.")
          .required("name", &Route::name, name(), "Name.")
          .required("match", &Route::match, object(match), "Match.")
          .required("methods", &Route::methods, list_of(name(), 1), "Methods.")
          .required("auth", &Route::auth, object(auth), "Auth.")
          .field("rate_limit", &Route::rate_limit, one_or_list(object(limit)), "Limits.")
          .required("upstream", &Route::upstream, name(), "Upstream.")
          .mark(&Route::at);
  return route;
}

void BM_ReadRoutes(benchmark::State& state) {
  static const auto schema =
      Object<File>("file", "A file.")
          .required("version", &File::version, integer(1, 1), "Version.")
          .required("routes", &File::routes, named_list(object(route_schema())), "Routes.");
  const auto source =
      std::make_shared<const Source>(Source{.path = "m.yaml", .text = routes_text(state.range(0))});
  const auto tree = parse_or_abort(source);
  for (auto _ : state) {
    Diagnostics out;
    Reader reader(out);
    const std::optional<File> file = read(schema, tree->root(), reader);
    if (!file.has_value()) std::abort();
    benchmark::DoNotOptimize(file->routes.data());
  }
}
BENCHMARK(BM_ReadRoutes)->Arg(100)->Arg(10'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace merlon::config
