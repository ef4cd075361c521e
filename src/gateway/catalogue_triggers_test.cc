#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "config/catalogue.h"
#include "config/waivers.h"
#include "gateway/load.h"
#include "gateway/test_config.h"
#include "tls/test_pki.h"

/// Every rule that the catalogue says to apply to Merlon's own configuration is checked, by name:
/// an audit tells which rules it judged by that column. A rule without a row here fails.
namespace merlon::gateway {
namespace {

using test::with;
using tls::test::Folder;

/// How a rule meets a configuration.
enum class Meets {
  kWaivable,  ///< refused by name; accepted with a waiver
  kNever,     ///< refused by name, waiver or not
  kGranted,   ///< nothing to refuse: only a waiver opens it, and it is noted
  kUnread,    ///< refused without its name: the auditor tells it as what it could not read
};

struct Row {
  const char* id;
  Meets meets;
  std::string text;
  std::string place = {};  ///< of the waiver
  unsigned file_mode = 0600;
};

std::string replaced(std::string_view from, std::string_view to) {
  std::string text = with("", "", "", "");
  text.replace(text.find(from), from.size(), to);
  return text;
}

/// The files that rows name.
class Files {
 public:
  Files() {
    const tls::KeyPtr root_key = tls::test::ec_key();
    const tls::X509Ptr root =
        tls::test::make_certificate(root_key.get(), {.subject = "root", .authority = true});
    ca = folder_.write("ca.pem", tls::test::pem_of(root.get()));
    const tls::KeyPtr key = tls::test::ec_key();
    const std::string key_pem = tls::test::pem_of(key.get());
    const auto leaf = [&](EVP_PKEY* of, const tls::test::CertificateOptions& options) {
      return tls::test::pem_of(
          tls::test::make_certificate(of, options, root.get(), root_key.get()).get());
    };
    const std::string good = leaf(key.get(), {.names = "DNS:a.example"});
    const tls::KeyPtr weak = tls::test::rsa_key(1024);
    usable = pair("usable", good, key_pem);
    expired =
        pair("expired", leaf(key.get(), {.names = "DNS:a.example", .from_days = -9, .to_days = -1}),
             key_pem);
    other_name = pair("other", leaf(key.get(), {.names = "DNS:b.example"}), key_pem);
    weak_key =
        pair("weak", leaf(weak.get(), {.names = "DNS:a.example"}), tls::test::pem_of(weak.get()));
    disordered = pair("disordered", good + good, key_pem);
    mismatched = pair("mismatched", good, tls::test::pem_of(tls::test::ec_key().get()));
    open_key = pair("open", good, key_pem, 0644);
  }

  std::string ca, usable, expired, other_name, weak_key, disordered, mismatched, open_key;

  /// As a file, since its mode may be what is judged.
  [[nodiscard]] LoadResult load(const std::string& text, unsigned mode) const {
    const auto broker = io::make_local_broker();
    return load_plan(folder_.write("merlon.yaml", text, mode), *broker, SystemClock{}.wall_now(),
                     kStrict);
  }

 private:
  [[nodiscard]] std::string pair(const std::string& name, const std::string& cert,
                                 const std::string& key, unsigned mode = 0600) const {
    return fmt::format("certificates: [{{ cert: {}, key: {} }}]",
                       folder_.write(name + ".pem", cert), folder_.write(name + ".key", key, mode));
  }

  Folder folder_;
};

std::vector<Row> rows(const Files& files) {
  const auto listener = [](const std::string& text) { return with(text, "", "", ""); };
  const auto route = [](const char* text) { return with("", "", text, ""); };
  const auto rest = [](const std::string& text) { return with("", "", "", text); };
  const auto tls = [&](const std::string& text) { return listener("tls: { " + text + " }"); };
  const auto identity = [](const char* text) {
    return replaced("auth: none", "auth: { jwt: staff }") +
           fmt::format("identity:\n  staff: {{ {} }}\n", text);
  };
  const auto redis = [](const char* text) {
    return with("", "", "rate_limit: { rate: 10/s, burst: 20, shared: true }",
                fmt::format("shared_state: {{ {} }}", text));
  };
  const std::string plain = rest("");
  return {
      {"MTH-02", Meets::kNever, replaced("[GET]", "[GET, TRACE]"), "routes.orders"},
      {"MTH-06", Meets::kNever, replaced("[GET]", "[GET, CONNECT]"), "routes.orders"},
      {"HDR-13", Meets::kGranted, plain, "routes.orders"},
      {"INF-10", Meets::kGranted, plain, "routes.orders"},
      {"TLS-13", Meets::kWaivable, replaced("127.0.0.1:8080", "0.0.0.0:8080"), "listeners.public"},
      {"TLS-16", Meets::kWaivable,
       tls(files.usable + ", client_auth: { ca: " + files.ca + ", required: false }"),
       "listeners.public.tls.client_auth"},
      {"TLS-19", Meets::kGranted, tls(files.usable), "listeners.public"},
      {"CRT-01", Meets::kWaivable, tls(files.expired), "listeners.public"},
      {"CRT-02", Meets::kWaivable, tls(files.other_name), "routes.orders"},
      {"CRT-03", Meets::kNever, tls(files.weak_key), "listeners.public"},
      {"CRT-04", Meets::kNever, tls(files.disordered), "listeners.public"},
      {"CRT-06", Meets::kNever, tls(files.mismatched), "listeners.public"},
      {"CRT-07", Meets::kNever, tls(files.open_key), "listeners.public"},
      {"COR-01", Meets::kWaivable, route("cors: { origins: ['*'] }"), "routes.orders.cors.origins"},
      {"COR-03", Meets::kNever, route("cors: { origins: ['null'] }"), "routes.orders.cors.origins"},
      {"LIM-06", Meets::kWaivable, route("body: { max: 2GiB }"), "routes.orders.body.max"},
      {"LIM-08", Meets::kWaivable, rest("timeouts: { idle: 20min }"), "timeouts.idle"},
      {"LIM-10", Meets::kWaivable, with("", "timeouts: { response: 10min }", "timeout: 15min"),
       "upstreams.orders.timeouts.response"},
      {"LIM-17", Meets::kWaivable,
       redis("redis: { address: 127.0.0.1:6379 }, nodes: 1, on_failure: open"),
       "shared_state.on_failure"},
      {"LIM-18", Meets::kWaivable, redis("redis: { address: 10.0.0.5:6379, tls: {} }, nodes: 1"),
       "shared_state.redis"},
      {"PTH-11", Meets::kGranted, plain, "routes.orders"},
      {"PTH-12", Meets::kGranted, plain, "routes.orders"},
      {"PTH-13", Meets::kGranted, plain, "routes.orders"},
      {"PTH-14", Meets::kGranted, plain, "routes.orders"},
      {"XFF-01", Meets::kNever, rest("trusted_proxies: [0.0.0.0/0]"), "listeners.public"},
      {"XFF-03", Meets::kNever, listener("proxy_protocol: true"), "listeners.public"},
      {"UPS-01", Meets::kWaivable, replaced("127.0.0.1:9000", "10.0.0.9:9000"), "upstreams.orders"},
      {"EXP-01", Meets::kNever, rest("admin: { address: 0.0.0.0:9901 }"), "listeners.public"},
      {"EXP-02", Meets::kWaivable,
       listener("\n  - { name: status, address: \"0.0.0.0:9902\", serve: [health] }"),
       "listeners.status"},
      {"JWT-02", Meets::kNever,
       identity("issuer: https://id.example/, audience: a, algorithms: [RS256, none]"),
       "routes.orders"},
      {"JWT-03", Meets::kNever, identity("issuer: https://id.example/"), "routes.orders"},
      {"JWT-04", Meets::kNever,
       identity("issuer: https://id.example/, audience: a, algorithms: [HS256]"), "routes.orders"},
      {"JWT-05", Meets::kNever,
       identity("issuer: https://id.example/, audience: a, jwks_uri: http://id.example/jwks"),
       "routes.orders"},
      {"LOG-02", Meets::kWaivable, rest("log: { access: 'off' }"), "log.access"},
      {"SYS-02", Meets::kNever, plain, "listeners.public", 0602},
      {"CFG-01", Meets::kUnread, rest("surprise: true")},
      {"CFG-06", Meets::kGranted, route("body: { max: 1KiB, json_depth: 4 }"),
       "routes.orders.body"},
  };
}

std::string waiver(std::string_view slug, std::string_view place) {
  const auto end =
      std::chrono::floor<std::chrono::days>(SystemClock{}.wall_now()) + std::chrono::days{20};
  return fmt::format(
      "waivers:\n  - {{ rule: {}, on: {}, reason: it is a test of this, owner: a@b.example, "
      "expires: {} }}\n",
      slug, place, config::format_date(end));
}

bool says(const LoadResult& result, std::string_view slug, Severity severity) {
  return std::ranges::any_of(result.diagnostics.all(), [&](const Diagnostic& said) {
    return said.rule == slug && said.severity == severity;
  });
}

void check(const Row& row, const config::Rule& rule, const Files& files) {
  SCOPED_TRACE(fmt::format("{} {}\n{}", row.id, rule.slug, row.text));
  const LoadResult bare = files.load(row.text, row.file_mode);
  const std::string said = bare.diagnostics.render();
  const bool waived_only = row.meets == Meets::kGranted;
  EXPECT_EQ(bare.plan != nullptr, waived_only) << said;
  if (row.meets == Meets::kUnread) {
    EXPECT_EQ(rule.id, "CFG-01");
    return;
  }
  EXPECT_EQ(says(bare, rule.slug, Severity::kError), !waived_only) << said;
  if (!waived_only) {
    EXPECT_EQ(bare.diagnostics.error_count(), 1U) << said;
  }
  const LoadResult waived = files.load(row.text + waiver(rule.slug, row.place), row.file_mode);
  const std::string then = waived.diagnostics.render();
  if (row.meets == Meets::kNever) {
    EXPECT_EQ(waived.plan, nullptr) << then;
    EXPECT_TRUE(says(waived, rule.slug, Severity::kError)) << then;
  } else {
    EXPECT_NE(waived.plan, nullptr) << then;
    EXPECT_TRUE(says(waived, rule.slug, Severity::kNote)) << then;
  }
}

TEST(Catalogue, EveryRuleOfOurOwnConfigurationIsChecked) {
  const Files files;
  std::map<std::string_view, Row> by_id;
  for (Row& row : rows(files)) {
    const std::string_view id = row.id;
    EXPECT_TRUE(by_id.emplace(id, std::move(row)).second) << id << " has two rows";
  }
  for (const config::Rule& rule : config::rules()) {
    const auto row = by_id.find(rule.id);
    if (rule.merlon_trigger.empty()) {
      EXPECT_EQ(row, by_id.end()) << rule.id << " has a row and no trigger";
      continue;
    }
    if (row == by_id.end()) {
      ADD_FAILURE() << rule.id << " has a trigger and no row: " << rule.merlon_trigger;
      continue;
    }
    check(row->second, rule, files);
  }
}

TEST(Catalogue, TheHashCoversPolicyFilesAndNoKeys) {
  const Folder folder;
  std::vector<std::string> text_hashes;
  const auto load = [&](std::string_view schema, std::string_view certificate) {
    const tls::KeyPtr key = tls::test::ec_key();
    const tls::X509Ptr made =
        tls::test::make_certificate(key.get(), {.names = std::string(certificate)});
    const std::string text = with(
        fmt::format("tls: {{ certificates: [{{ cert: {}, key: {} }}] }}",
                    folder.write("a.pem", tls::test::pem_of(made.get())),
                    folder.write("a.key", tls::test::pem_of(key.get()))),
        "", fmt::format("body: {{ schema: {} }}", folder.write("s.json", std::string(schema))), "");
    const auto broker = io::make_local_broker();
    const LoadResult result =
        load_plan_text("merlon.yaml", text, *broker, SystemClock{}.wall_now(), kStrict);
    EXPECT_NE(result.plan, nullptr) << result.diagnostics.render();
    if (result.plan != nullptr) text_hashes.push_back(result.plan->text_hash);
    return result.plan == nullptr ? std::string() : result.plan->hash;
  };
  const std::string one = load(R"({"type":"object"})", "DNS:a.example");
  EXPECT_EQ(load(R"({"type":"object"})", "DNS:a.example,DNS:b.example"), one);
  EXPECT_NE(load(R"({"type":"array"})", "DNS:a.example"), one);
  EXPECT_EQ(text_hashes, std::vector<std::string>(3, text_hashes.front()));
}

}  // namespace
}  // namespace merlon::gateway
