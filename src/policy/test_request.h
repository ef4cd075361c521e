#pragma once

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "config/tree.h"
#include "config/waivers.h"
#include "http/h1_request_parser.h"
#include "policy/policy_list.h"

/// For tests of policies: from YAML to judges, from the bytes of a head to a Context.
namespace merlon::policy {

/// A route as policies see it.
struct TestRoute : Settings {
  std::string name;
};

[[nodiscard]] inline const config::Object<TestRoute>& test_route_schema() {
  static const auto schema = [] {
    auto keys = config::Object<TestRoute>("test route", "A route with nothing but policies.")
                    .field("name", &TestRoute::name, config::name(), "Its name.");
    add_keys(keys);
    return keys;
  }();
  return schema;
}

/// The judges of a route that is written as `policies`, a few lines of YAML.
struct CompiledPolicies {
  std::string text;
  std::shared_ptr<const config::Tree> tree;
  Diagnostics diagnostics;
  TestRoute route;
  std::unique_ptr<io::Broker> broker = io::make_local_broker();
  std::vector<std::string> methods{"GET", "POST", "DELETE"};
  Judges judges;

  explicit CompiledPolicies(std::string_view policies, std::string_view waivers = "",
                            const std::string& directory = ".") {
    text = fmt::format("routes:\n  - name: r\n");
    for (std::size_t at = 0; at < policies.size();) {
      const std::size_t end = std::min(policies.find('\n', at), policies.size());
      text += fmt::format("    {}\n", policies.substr(at, end - at));
      at = end + 1;
    }
    text += waivers;
    tree = config::load_text("test.yaml", text, diagnostics, [](const std::string&) {
      return std::expected<std::string, std::string>(std::unexpected("no includes"));
    });
    if (tree == nullptr) return;
    constexpr config::Date kToday = std::chrono::January / 1 / 2027;
    config::Waivers granted =
        config::Waivers::read(tree->root(), kToday, config::ExpiryMode::kRefuse, diagnostics);
    config::Reader reader(diagnostics, directory, &granted);
    const config::Reader::Step routes(reader, "routes");
    const config::Reader::Step here(reader, "r");
    const config::Node& node = tree->root().find("routes")->items().front();
    if (test_route_schema().read(node, route, reader)) {
      const SharedSetup shared{.nodes = 3};
      CompileInput input{
          .reader = reader, .broker = *broker, .methods = methods, .shared = &shared};
      compile_policies(route, input, judges);
      granted.report_unused(diagnostics);
    }
  }

  [[nodiscard]] bool ok() const { return diagnostics.ok(); }
};

/// A request before its judges. `head` is what stands before the empty line.
class AskedRequest {
 public:
  explicit AskedRequest(std::string_view head, bool preflight = false)
      : bytes_(fmt::format("{}\r\n\r\n", head)),
        good_(parser_.parse(bytes_).value_or(0) != 0),
        context_{.head = parser_.head(),
                 .reading = reading_,
                 .connection = connection_,
                 .preflight = preflight,
                 .now = {},
                 .wall = {},
                 .fields = fields_,
                 .tables = shared_tables(),
                 .holds = holds_,
                 .observations = observations_} {
    if (!good_) return;
    const auto host = http::canonical_host(parser_.head().authority, scratch_.host);
    if (host) reading_.host = *host;
    reading_.authority = parser_.head().authority;
    reading_.path = parser_.head().target.path;
  }

  [[nodiscard]] bool good() const { return good_; }
  [[nodiscard]] Context& context() { return context_; }
  [[nodiscard]] Decision judge(const CompiledPolicies& by) {
    for (const auto& judge : by.judges) {
      const Decision decision = judge->check(context_);
      if (decision.kind != Decision::Kind::kNext) return decision;
    }
    return Decision::next();
  }
  /// The value of a field that the response carries; nullopt without it.
  [[nodiscard]] std::optional<std::string> response(std::string_view name) const {
    for (const http::Field& line : fields_.lines()) {
      if (line.name == name) return std::string(line.value);
    }
    return std::nullopt;
  }
  [[nodiscard]] const Observations& observations() const { return observations_; }

 private:
  static state::Tables& shared_tables() {
    static state::Tables tables;
    return tables;
  }

  http::RequestParser parser_;
  std::string bytes_;
  bool good_;
  ReadingScratch scratch_;
  Reading reading_;
  ConnectionFacts connection_;
  ResponseFields fields_;
  state::Holds holds_;
  Observations observations_;
  Context context_;
};

}  // namespace merlon::policy
