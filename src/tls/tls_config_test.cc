#include "tls/tls_config.h"

#include <gtest/gtest.h>

namespace merlon::tls {
namespace {

template <class T>
std::optional<T> parse(const config::Object<T>& schema, const std::string& yaml, Diagnostics& out) {
  const auto tree = config::load_text("/etc/merlon/merlon.yaml", yaml, out);
  if (tree == nullptr) return {};
  config::Reader reader(out, "/etc/merlon");
  return config::read(schema, tree->root(), reader);
}

TEST(ListenerTls, IsRead) {
  Diagnostics out;
  const auto tls =
      parse(listener_tls_schema(),
            "certificates:\n  - { cert: a.crt, key: keys/a.key }\nmin_version: \"1.3\"\n", out);
  ASSERT_TRUE(tls) << out.render();
  EXPECT_EQ(tls->min_version, MinVersion::kTls13);
  ASSERT_EQ(tls->certificates.size(), 1U);
  EXPECT_EQ(tls->certificates[0].cert->path, "/etc/merlon/a.crt");
  EXPECT_EQ(tls->certificates[0].key->path, "/etc/merlon/keys/a.key");
  EXPECT_EQ(tls->certificates[0].key.at.line, 2U);
}

TEST(ListenerTls, AsksForClientCertificatesAlwaysUnlessItSaysOtherwise) {
  Diagnostics out;
  const auto tls = parse(listener_tls_schema(),
                         "certificates: [{ cert: a, key: b }]\nclient_auth: { ca: c }\n", out);
  ASSERT_TRUE(tls.has_value()) << out.render();
  ASSERT_TRUE(tls->client_auth.has_value());
  EXPECT_TRUE(tls->client_auth->required);
}

TEST(ListenerTls, RefusesWhatIsNotThereOrNotBuilt) {
  const char* const cases[] = {
      "min_version: \"1.2\"\n",                                       // no certificate at all
      "certificates: []\n",                                           // nor here
      "certificates: [{ cert: a.crt }]\n",                            // no key
      "certificates: [{ cert: a, key: b }]\nmin_version: \"1.1\"\n",  // only tightens
      "certificates: [{ cert: a, key: b }]\nciphers: ALL\n",          // there is no such key
      "certificates: [{ cert: a, key: b }]\nclient_auth: {}\n",       // trusts nobody
      "certificates: [{ cert: a, key: b, client_auth: {} }]\n",       // trusts nobody
      "certificates: [{ acme: { directory: https://ca.test/ } }]\n",  // not built
  };
  for (const char* yaml : cases) {
    Diagnostics out;
    EXPECT_FALSE(parse(listener_tls_schema(), yaml, out)) << yaml;
    EXPECT_FALSE(out.ok()) << yaml;
  }
}

TEST(UpstreamTls, IsReadOrRefused) {
  struct Case {
    const char* yaml;
    bool want;
  };
  const Case cases[] = {
      {"{}\n", true},
      {"{ ca: ca.pem, server_name: orders.internal }\n", true},
      {"{ server_name: 192.0.2.1 }\n", true},
      {"{ server_name: \"2001:db8::1\" }\n", true},
      {"{ cert: a, key: b }\n", true},
      {"{ cert: a }\n", false},
      {"{ key: b }\n", false},
      {"{ server_name: Orders.internal }\n", false},
      {"{ server_name: orders.internal. }\n", false},
      {"{ server_name: \"*.internal\" }\n", false},
      {"{ server_name: orders..internal }\n", false},
      {"{ verify: false }\n", false},
  };
  for (const Case& c : cases) {
    Diagnostics out;
    EXPECT_EQ(parse(upstream_tls_schema(), c.yaml, out).has_value(), c.want)
        << c.yaml << out.render();
  }
}

}  // namespace
}  // namespace merlon::tls
