// Merlon's own language: the tree, the schema, the waivers, and every text that comes out of them.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "config/schema.h"
#include "config/tree.h"
#include "config/waivers.h"

namespace {

using namespace merlon;          // NOLINT(google-build-using-namespace): a program of one file
using namespace merlon::config;  // NOLINT(google-build-using-namespace)

struct Limit {
  Rate rate;
  std::uint8_t burst = 0;
};
struct Target {
  Endpoint address;
  std::uint32_t weight = 1;
};
struct Route {
  std::string name;
  bool open = false;
  std::vector<Limit> rate_limit;
  std::optional<Located<milliseconds>> timeout;
  std::uint64_t body = 1024;
  FilePath schema;
  Mark at;
};
struct File {
  std::uint32_t version = 0;
  std::map<std::string, std::vector<Target>, std::less<>> upstreams;
  std::vector<Route> routes;
  std::vector<Cidr> trusted;
};

const Object<Route>& route_schema() {
  static const auto limit = Object<Limit>("limit", "How often.")
                                .required("rate", &Limit::rate, rate(), "Rate.")
                                .field("burst", &Limit::burst, integer(0, 1000), "Burst.");
  static const auto schema =
      Object<Route>("route", "A route.")
          .required("name", &Route::name, name(), "Name.")
          .field("open", &Route::open, boolean(), "Open.")
          .field("rate_limit", &Route::rate_limit, one_or_list(object(limit)), "Limits.")
          .field("timeout", &Route::timeout,
                 waivable(duration(seconds{1}, seconds{60}), duration(seconds{1}, seconds{600}),
                          "upstream-timeout-infinite"),
                 "Timeout.")
          .field("body", &Route::body, bytes(1, 1 << 20), "Body.")
          .field("schema", &Route::schema, file(), "Schema.")
          .later("websocket", "upgrades")
          .mark(&Route::at);
  return schema;
}

const Object<File>& file_schema() {
  static const auto target_object =
      Object<Target>("endpoint", "A server.")
          .required("address", &Target::address, endpoint(), "Address.")
          .field("weight", &Target::weight, integer(1, 100), "Weight.");
  static const auto target =
      scalar_or<Target>(converted<Target, Endpoint>(
                            endpoint(), [](Endpoint e) { return Target{.address = e}; },
                            [](const Target& t) { return t.address; }),
                        object(target_object), [](const Target& t) { return t.weight == 1; });
  static const auto schema =
      Object<File>("file", "A file.")
          .required("version", &File::version, integer(1, 1), "Version.")
          .field("upstreams", &File::upstreams, map_of(name(), list_of(target, 1, 16)),
                 "Upstreams.")
          .field("routes", &File::routes, named_list(object(route_schema())), "Routes.")
          .field("trusted", &File::trusted, list_of(cidr()), "Trusted.")
          .read_apart("waivers", waiver_list(), "Exceptions.");
  return schema;
}

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Diagnostics out;
  const std::string text(reinterpret_cast<const char*>(data), size);
  // What is included is the same file again: it must end.
  const ReadFile read_same = [&](const std::string&) { return text; };
  const auto tree = load_text("m.yaml", text, out, read_same);
  require(tree != nullptr || !out.ok());
  if (tree != nullptr) {
    Waivers waivers =
        Waivers::read(tree->root(), *parse_date("2027-01-01"), ExpiryMode::kRefuse, out);
    Reader reader(out, "/etc/merlon", &waivers);
    const std::size_t before = out.error_count();
    const auto file = read(file_schema(), tree->root(), reader);
    require(file.has_value() || out.error_count() > before);
    if (file.has_value()) {
      for (const EffectiveRow& row : effective(file_schema(), *file, &tree->root())) {
        require(!row.place.empty());
      }
    }
    waivers.report_unused(out);
  }
  out.sort();
  require(out.ok() || !out.render().empty());
  return 0;
}
