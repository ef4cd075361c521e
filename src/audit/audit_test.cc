#include "audit/audit.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <optional>

#include "audit/baseline.h"

namespace merlon::audit {
namespace {

namespace fs = std::filesystem;

constexpr const char* kServer =
    "events {}\nhttp {\n  server {\n    listen 127.0.0.1:80;\n"
    "    return 404;\n  }\n}\n";

/// A folder of its own for each test, removed after it.
class Folder : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "merlon-audit-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  void TearDown() override { fs::remove_all(root_); }
  std::string write(const std::string& path, const std::string& text) {
    const fs::path full = root_ / path;
    fs::create_directories(full.parent_path());
    std::ofstream(full, std::ios::binary) << text;
    return full.string();
  }
  fs::path root_;
};

bool has(const AuditResult& result, std::string_view rule) {
  return std::ranges::any_of(result.findings, [&](const Finding& f) { return f.rule == rule; });
}

TEST_F(Folder, CountsWhatWasRead) {
  write("nginx.conf", "events {}\nhttp {\n  include conf.d/*.conf;\n  our_module on;\n}\n");
  write("conf.d/b.conf", "server { listen 127.0.0.1:80; return 404; }\n");
  write("conf.d/a.conf", "gzip on;\n");
  const AuditResult result = audit({root_.string()});
  EXPECT_EQ(result.counts.files, 3U);
  EXPECT_EQ(result.counts.lines, 7U);
  EXPECT_EQ(result.counts.includes, 2U);
  EXPECT_EQ(result.counts.directives, 8U);
  EXPECT_EQ(result.counts.unknown_directives, 1U);
  EXPECT_EQ(result.unknown_directives, std::vector<std::string>{"our_module"});
  EXPECT_EQ(result.sources[1]->path, (root_ / "conf.d/a.conf").string());
  EXPECT_EQ(exit_code(result, Level::kHigh), 0);
}

TEST_F(Folder, ReadsIncludesOfAFileInSitesEnabledFromTheFolderAbove) {
  write("snippets/hide.conf", "server_tokens on;\n");
  const std::string site =
      write("sites-enabled/a", "server { include snippets/hide.conf; listen 80; return 404; }\n");
  const AuditResult result = audit({site});
  EXPECT_TRUE(has(result, "INF-01"));
  EXPECT_TRUE(result.gaps.empty());
}

TEST_F(Folder, ReadsACopyOfEtcNginxElsewhere) {
  write("nginx.conf", "events {}\nhttp { include /etc/nginx/conf.d/only_here.conf; }\n");
  write("conf.d/only_here.conf", "server_tokens on;\n");
  const AuditResult result = audit({root_.string()});
  EXPECT_TRUE(has(result, "INF-01"));
  EXPECT_TRUE(result.gaps.empty());
}

TEST_F(Folder, FollowsNoLinkOutOfTheTree) {
  const fs::path outside = root_ / "outside";
  write("outside/secret.conf", "server_tokens on;\n");
  write("tree/nginx.conf", "events {}\nhttp { include linked.conf; include ../outside/*.conf; }\n");
  fs::create_symlink(outside / "secret.conf", root_ / "tree/linked.conf");
  const AuditResult result = audit({(root_ / "tree").string()});
  EXPECT_FALSE(has(result, "INF-01"));
  EXPECT_EQ(result.gaps.size(), 2U);
  EXPECT_EQ(exit_code(result, Level::kCritical), 3);
}

TEST_F(Folder, FollowsTheLinksOfACopyOfEtcNginxIntoTheCopy) {
  write("nginx.conf",
        "include /etc/nginx/modules-enabled/*.conf;\ninclude /usr/share/nginx/modules/*.conf;\n"
        "events {}\nhttp { include /etc/nginx/sites-enabled/*; }\n");
  write("sites-available/shop", "server { listen 80; server_tokens on; return 404; }\n");
  fs::create_directories(root_ / "sites-enabled");
  fs::create_directories(root_ / "modules-enabled");
  fs::create_symlink("/etc/nginx/sites-available/shop", root_ / "sites-enabled/shop");
  fs::create_symlink("/usr/share/nginx/modules-available/none-such.conf",
                     root_ / "modules-enabled/50-none-such.conf");
  const AuditResult result = audit({root_.string()});
  EXPECT_TRUE(has(result, "INF-01"));
  EXPECT_EQ(result.gaps.size(), 0U);
  EXPECT_EQ(result.counts.files, 2U);
}

TEST_F(Folder, FollowsNoLinkOfACopyToWhatTheCopyLacks) {
  write("nginx.conf", "events {}\nhttp { include /etc/nginx/sites-enabled/*; }\n");
  fs::create_directories(root_ / "sites-enabled");
  fs::create_symlink("/etc/nginx/sites-available/../../none-such", root_ / "sites-enabled/a");
  EXPECT_EQ(exit_code(audit({root_.string()}), Level::kCritical), 3);
}

TEST_F(Folder, TellsOnceOfAKeyThatManyServersName) {
  const std::string key = write("tls/site.key", "key");
  fs::permissions(key, fs::perms(0644));
  std::string text = "events {}\nhttp {\n";
  for (const char* name : {"a", "b", "c"}) {
    text += fmt::format(
        "server {{ listen 443 ssl; server_name {0}.example.com;\n"
        "ssl_certificate {1}.pem; ssl_certificate_key {1}; return 404; }}\n",
        name, key);
  }
  const AuditResult result = audit({write("nginx.conf", text + "}\n")});
  EXPECT_EQ(std::ranges::count(result.findings, "CRT-07", &Finding::rule), 1);
  const auto found = std::ranges::find(result.findings, "CRT-07", &Finding::rule);
  EXPECT_EQ(found->affected,
            (std::vector<std::string>{"a.example.com", "b.example.com", "c.example.com"}));
}

TEST_F(Folder, TakesASecretInAFileThatOnlyItsOwnerReads) {
  const std::string secret = write("secret.conf", "proxy_set_header X-Api-Key f3Zp9Qm2Xr7Lw5Tk;\n");
  write("nginx.conf",
        "events {}\nhttp { server { listen 127.0.0.1:80; location / {\n"
        "include secret.conf; proxy_pass http://127.0.0.1; } } }\n");
  fs::permissions(secret, fs::perms(0640));
  EXPECT_TRUE(has(audit({root_.string()}), "UPS-07"));
  fs::permissions(secret, fs::perms(0600));
  EXPECT_FALSE(has(audit({root_.string()}), "UPS-07"));
}

TEST_F(Folder, NeverPassesWhatItCouldNotRead) {
  struct Input {
    std::string path;
    const char* why;
  };
  ::mkfifo((root_ / "fifo.conf").c_str(), 0600);
  fs::create_directories(root_ / "empty");
  const Input inputs[] = {
      {write("binary.conf", std::string("server\0{", 8)), "binary"},
      {write("prose.conf", "Dear reader, this is no configuration.\n"), "prose"},
      {write("broken/nginx.conf", "http { server { listen 80; }\n"), "broken"},
      {write("missing.conf", "events {}\nhttp { include nowhere.conf; }\n"), "include"},
      {(root_ / "fifo.conf").string(), "fifo"},
      {(root_ / "empty").string(), "empty folder"},
      {(root_ / "no-such-file").string(), "missing"},
      {"/dev/zero", "device"},
  };
  for (const Input& input : inputs) {
    const AuditResult result = audit({input.path});
    EXPECT_EQ(exit_code(result, Level::kCritical), 3) << input.why;
    EXPECT_FALSE(result.gaps.empty()) << input.why;
  }
}

/// The rest of a test as a user whom modes stop: root opens every folder.
class AsNobody {
 public:
  AsNobody() { EXPECT_EQ(::seteuid(65534), 0); }
  AsNobody(const AsNobody&) = delete;
  AsNobody& operator=(const AsNobody&) = delete;
  ~AsNobody() { EXPECT_EQ(::seteuid(was_), 0); }

 private:
  const uid_t was_ = ::geteuid();
};

TEST_F(Folder, NeverPassesAFolderThatItCouldNotOpen) {
  write("included/nginx.conf", "events {}\nhttp { include conf.d/*.conf; }\n");
  write("included/conf.d/a.conf", "server { listen 80; autoindex on; }\n");
  write("beside/a.conf", kServer);
  write("beside/more/b.conf", "server { listen 80; autoindex on; }\n");
  for (const char* closed : {"included/conf.d", "beside/more"}) {
    fs::permissions(root_ / closed, fs::perms::none);
  }
  fs::permissions(root_, fs::perms(0755));
  {
    std::optional<AsNobody> nobody;
    if (::geteuid() == 0) nobody.emplace();
    const AuditResult included = audit({(root_ / "included/nginx.conf").string()});
    EXPECT_EQ(exit_code(included, Level::kHigh), 3);
    EXPECT_TRUE(has(included, "CFG-01") || has(included, "CFG-02"));
    const AuditResult beside = audit({(root_ / "beside").string()});
    EXPECT_EQ(exit_code(beside, Level::kHigh), 3);
    EXPECT_TRUE(has(beside, "CFG-01"));
  }
  for (const char* closed : {"included/conf.d", "beside/more"}) {
    fs::permissions(root_ / closed, fs::perms::owner_all);
  }
}

TEST_F(Folder, NeverPassesAFileForNginxThatItDidNotRecognise) {
  struct Case {
    const char* path;
    const char* text;
    int code;
  };
  const Case cases[] = {
      {"conf.d/vendor.conf", "vendor_a on;\nvendor_b off;\nvendor_c { x y; }\nserver { }\n", 3},
      {"conf.d/broken.conf", "stuff {\n", 3},
      {"sites-enabled/template", "{{ server }}\n", 3},
      {"supervisord.conf", "[program:app]\ncommand=/bin/app ; runs it\n", 0},
      {"redis.conf", "bind 127.0.0.1\nport 6379\n", 0},
      {"notes.txt", "to do;\n", 0},
      {"includes/app.inc", "<?php\nfunction a() {\n}\n", 0},
  };
  for (const Case& one : cases) {
    write("tree/a.conf", "server { listen 127.0.0.1:80; server_name a.test; return 404; }\n");
    const std::string path = write(std::string("tree/") + one.path, one.text);
    EXPECT_EQ(exit_code(audit({(root_ / "tree").string()}), Level::kHigh), one.code) << one.path;
    fs::remove(path);
  }
}

TEST_F(Folder, NamesFoldersThatLieTooDeep) {
  write("a.conf", "server { listen 127.0.0.1:80; server_name a.test; return 404; }\n");
  std::string deep;
  for (int i = 0; i < 18; ++i) deep += "d/";
  write(deep + "b.conf", "server { listen 80; autoindex on; }\n");
  EXPECT_EQ(exit_code(audit({root_.string()}), Level::kHigh), 3);
}

TEST_F(Folder, FindsKeysThatOthersMayRead) {
  const std::string conf = write("nginx.conf",
                                 "events {}\nhttp {\n  server {\n    listen 127.0.0.1:443 ssl;\n"
                                 "    ssl_certificate_key a.key;\n    return 404;\n  }\n}\n");
  const std::string key = write("a.key", "-----BEGIN PRIVATE KEY-----\n");
  for (const auto& [mode, open] :
       {std::pair{0600, false}, {0640, false}, {0644, true}, {0660, true}}) {
    ASSERT_EQ(::chmod(key.c_str(), static_cast<mode_t>(mode)), 0);
    EXPECT_EQ(has(audit({conf}), "CRT-07"), open) << mode;
  }
}

TEST_F(Folder, FindsSharedSecretsThatOthersMayRead) {
  const std::string conf =
      write("nginx.conf", "events {}\nhttp {\n  auth_jwt_key_file keys.json;\n}\n");
  const std::string keys = write("keys.json", R"({"keys":[{"kty":"oct","k":"c2VjcmV0"}]})");
  ASSERT_EQ(::chmod(keys.c_str(), 0644), 0);
  EXPECT_TRUE(has(audit({conf}), "JWT-04"));
  ASSERT_EQ(::chmod(keys.c_str(), 0640), 0);
  EXPECT_FALSE(has(audit({conf}), "JWT-04"));
  write("keys.json", R"({"keys":[{"kty":"EC","crv":"P-256"}]})");
  ASSERT_EQ(::chmod(keys.c_str(), 0644), 0);
  EXPECT_FALSE(has(audit({conf}), "JWT-04"));
}

TEST_F(Folder, EachFieldThatIsLostNamesItsRoute) {
  const std::string yaml = write("envoy.yaml", R"(static_resources: { listeners: [{ name: l,
  address: { socket_address: { address: 0.0.0.0, port_value: 443 } }, filter_chains: [{ filters: [
  { name: envoy.filters.network.http_connection_manager, typed_config: {
    "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
    route_config: { most_specific_header_mutations_wins: true, response_headers_to_add: [
      { header: { key: X-Content-Type-Options, value: nosniff } },
      { header: { key: Referrer-Policy, value: no-referrer } } ],
      virtual_hosts: [{ name: api, domains: [ api.example.com ],
        response_headers_to_remove: [ x-content-type-options, referrer-policy ],
        routes: [{ match: { prefix: "/" }, direct_response: { status: 200 } }] }] } } }] }] }] }
)");
  const AuditResult result = audit({yaml});
  std::vector<std::string> affected;
  for (const Finding& finding : result.findings) {
    if (finding.rule == "HDR-01" && finding.message.find("is lost here") != std::string::npos)
      affected.insert(affected.end(), finding.affected.begin(), finding.affected.end());
  }
  EXPECT_EQ(affected, (std::vector<std::string>{"api.example.com", "api.example.com"}));
}

TEST_F(Folder, KeepsItsBounds) {
  Options options;
  options.file_bytes_max = 1000;
  const std::string big = write("nginx.conf", kServer + std::string(2000, '#'));
  EXPECT_EQ(exit_code(audit({big}, options), Level::kHigh), 3);
  options = {};
  options.includes_max = 10;
  std::string text = "events {}\nhttp {\n";
  for (int i = 0; i < 100; ++i) text += "include a.inc;\n";
  write("many/a.inc", "gzip_vary on;\n");
  const std::string many = write("many/nginx.conf", text + "}\n");
  EXPECT_EQ(exit_code(audit({many}, options), Level::kHigh), 3);
}

TEST_F(Folder, NamesTheLanguagesThatItDoesNotRead) {
  const std::pair<const char*, const char*> inputs[] = {
      {"haproxy.cfg", "global\n  maxconn 10\ndefaults\n  mode http\nfrontend x\n  bind :80\n"},
      {"Caddyfile", "example.com {\n\treverse_proxy :8080\n}\n"},
      {"traefik.yml", "entryPoints:\n  web:\n    address: :80\n"},
  };
  const char* names[] = {"haproxy", "caddy", "traefik"};
  std::size_t i = 0;
  for (const auto& [path, text] : inputs) {
    const AuditResult result = audit({write(path, text)});
    ASSERT_EQ(result.gaps.size(), 1U) << path;
    EXPECT_NE(result.gaps[0].what.find(names[i++]), std::string::npos) << result.gaps[0].what;
    EXPECT_EQ(exit_code(result, Level::kInfo), 3);
  }
}

TEST(Kinds, AreToldByTheirContents) {
  EXPECT_EQ(detect_kind("x", kServer), Kind::kNginx);
  EXPECT_EQ(detect_kind("x.yaml", "static_resources:\n  listeners: []\n"), Kind::kEnvoy);
  EXPECT_EQ(detect_kind("x.json", "{\"resources\":[{\"@type\":\"type.googleapis.com/envoy.x\"}]}"),
            Kind::kEnvoy);
  EXPECT_EQ(detect_kind("x.yaml", "version: 1\nroutes: []\n"), Kind::kMerlon);
  EXPECT_EQ(detect_kind("x.yaml", "\xEF\xBB\xBFversion: 1\nroutes: []\n"), Kind::kMerlon);
  EXPECT_EQ(detect_kind("x.yaml", "apiVersion: v1\nkind: Pod\n"), Kind::kUnknown);
  EXPECT_EQ(detect_kind("x", ""), Kind::kUnknown);
}

TEST(Kinds, AreNotMistakenByAWordInAComment) {
  EXPECT_EQ(detect_kind("sites-available/one", "# virtual_hosts\nserver {\n\tlisten 80;\n}\n"),
            Kind::kNginx);
  EXPECT_EQ(detect_kind("lds", "virtual_hosts: []\nname: a\n"), Kind::kEnvoy);
}

TEST(Kinds, AreNotMistakenByLongMaps) {
  std::string text = "map $uri $x {\n";
  for (int i = 0; i < 100; ++i) text += "  /p" + std::to_string(i) + " q;\n";
  EXPECT_EQ(detect_kind("maps.conf", text + "}\n"), Kind::kNginx);
}

TEST(Dump, IsReadByTheNamesOfItsFiles) {
  const std::string dump =
      "nginx: the configuration file /etc/nginx/nginx.conf syntax is ok\n"
      "# configuration file /etc/nginx/nginx.conf:\n"
      "events {}\nhttp {\n  include conf.d/*.conf;\n}\n\n"
      "# configuration file /etc/nginx/conf.d/a.conf:\n"
      "server_tokens on;\n";
  const AuditResult result = audit_text("dump.txt", dump);
  ASSERT_TRUE(has(result, "INF-01"));
  for (const Finding& finding : result.findings) {
    if (finding.rule == "INF-01") {
      EXPECT_EQ(finding.at.to_string(), "/etc/nginx/conf.d/a.conf:1:1");
      ASSERT_EQ(finding.trail.size(), 1U);
      EXPECT_EQ(finding.trail[0].at.file_line(), "/etc/nginx/nginx.conf:3");
    }
  }
  EXPECT_TRUE(result.gaps.empty());
}

std::string with_tokens(const std::string& comment) {
  return "events {}\nhttp {\n  " + comment + "\n  server_tokens on;\n}\n";
}

TEST(Bounds, OfWhatLeadsToAnOriginAreSaid) {
  const auto with_chain = [](int length) {
    std::string text = "events {}\nhttp {\n server {\n listen 8080;\nset $c0 $http_origin;\n";
    for (int i = 1; i <= length; ++i) text += fmt::format("set $c{} $c{};\n", i, i - 1);
    return text + fmt::format("add_header Access-Control-Allow-Origin $c{};\n}}\n}}\n", length);
  };
  const auto says = [](const AuditResult& result) {
    return std::ranges::any_of(result.not_checked,
                               [](const NotChecked& one) { return one.rule == "COR-02"; });
  };
  const AuditResult some = audit_text("t.conf", with_chain(100));
  EXPECT_TRUE(has(some, "COR-02"));
  EXPECT_FALSE(says(some));
  EXPECT_TRUE(says(audit_text("t.conf", with_chain(1100))));
}

TEST_F(Folder, OneFileHasOneNameHoweverItIsGiven) {
  write("nginx.conf", "events {}\nhttp {\n  include conf.d/*.conf;\n}\n");
  write("conf.d/a.conf", "server { listen 127.0.0.1:80; server_tokens on; return 404; }\n");
  const fs::path before = fs::current_path();
  const auto found = [](const std::vector<std::string>& paths) {
    const AuditResult result = audit(paths);
    return std::ranges::count(result.findings, "INF-01", &Finding::rule);
  };
  fs::current_path(root_);
  EXPECT_EQ(found({"nginx.conf", "conf.d/a.conf"}), 1);
  EXPECT_EQ(found({"./nginx.conf", ".//conf.d/a.conf"}), 1);
  EXPECT_EQ(found({"."}), 1);
  // And a baseline holds for it, wherever it was written.
  Options options;
  options.baseline_path = write("baseline", render_baseline(audit({root_.string()})));
  EXPECT_EQ(exit_code(audit({"."}, options), Level::kLow), 0);
  fs::current_path(root_ / "conf.d");
  EXPECT_EQ(exit_code(audit({".."}, options), Level::kLow), 0);
  fs::current_path(before);
}

TEST(Fixes, MendEachSocketAndEachLimit) {
  const AuditResult tls =
      audit_text("t.conf",
                 "events {}\nhttp {\n  server {\n    listen 443 ssl;\n    listen 9443 ssl;\n  }\n"
                 "  server {\n    listen 8443 ssl;\n  }\n}\n");
  const AuditResult limits =
      audit_text("t.conf",
                 "events {}\nhttp {\n  limit_req_zone $binary_remote_addr zone=a:1m rate=1r/s;\n"
                 "  server {\n    listen 80;\n    location /a {\n      limit_req zone=a;\n    }\n"
                 "    location /b {\n      limit_req zone=a;\n    }\n  }\n}\n");
  const auto edits = [](const AuditResult& result, std::string_view rule) {
    std::size_t out = 0;
    for (const Finding& finding : result.findings) {
      if (finding.rule == rule) out += finding.fix.size();
    }
    return out;
  };
  EXPECT_EQ(edits(tls, "TLS-01"), 2U);
  EXPECT_EQ(edits(limits, "LIM-04"), 2U);
}

TEST(Fixes, HoldNoLongLines) {
  std::string text = "events {}\nhttp {";
  for (int i = 0; i < 100; ++i)
    text += fmt::format(
        " server {{ listen 80; server_name s{}; location /s {{ alias /srv/s/; }} }}", i);
  const AuditResult result = audit_text("t.conf", text + " }\n");
  EXPECT_TRUE(has(result, "PTH-01"));
  for (const Finding& finding : result.findings) {
    for (const Edit& edit : finding.fix) EXPECT_LT(edit.replacement.size(), 4096U) << finding.rule;
  }
}

TEST_F(Folder, BaselineHoldsWhatIsKnown) {
  const std::string conf = write("nginx.conf", with_tokens(""));
  const AuditResult before = audit({conf});
  ASSERT_EQ(exit_code(before, Level::kLow), 1);
  Options options;
  options.baseline_path = write("baseline", render_baseline(before));
  // Lines may move: what is known stays known.
  write("nginx.conf", "# moved\n\n" + with_tokens(""));
  EXPECT_EQ(exit_code(audit({conf}, options), Level::kLow), 0);
  options.baseline_path = (root_ / "none").string();
  EXPECT_EQ(exit_code(audit({conf}, options), Level::kLow), 3);
}

TEST_F(Folder, BaselineKnowsALineByItsWords) {
  const auto with_server = [](const char* listen, const char* location) {
    return fmt::format(
        "events {{}}\nhttp {{\n  server {{\n    listen {};\n    location {} {{ alias /srv/s/; }}\n"
        "  }}\n}}\n",
        listen, location);
  };
  const std::string conf = write("nginx.conf", with_server("127.0.0.1:8080", "/s"));
  Options options;
  options.only_rules = {"PTH-01"};
  const AuditResult before = audit({conf}, options);
  ASSERT_EQ(exit_code(before, Level::kHigh), 1);
  options.baseline_path = write("baseline", render_baseline(before));
  // What the route is called stands on another line.
  write("nginx.conf", with_server("127.0.0.1:8081; server_name a.test", " \t /s"));
  EXPECT_EQ(exit_code(audit({conf}, options), Level::kHigh), 0);
  write("nginx.conf", with_server("127.0.0.1:8080", "/other"));
  EXPECT_EQ(exit_code(audit({conf}, options), Level::kHigh), 1);
}

TEST_F(Folder, BaselineHoldsNoMoreThanWhatWasThere) {
  // The same words again, on another line or in another folder, are findings of their own.
  constexpr const char* kGeo = "geo $%s { default 0;\n  proxy 0.0.0.0/0;\n}\n";
  const auto with_geos = [&](std::initializer_list<const char*> names) {
    std::string text = "events {}\nhttp {\n";
    for (const char* name : names) {
      text += kGeo;
      text.replace(text.find("%s"), 2, name);
    }
    return text + "server { listen 127.0.0.1:80; return 444; }\n}\n";
  };
  write("a/nginx.conf", with_geos({"one"}));
  Options options;
  options.baseline_path = write("baseline", render_baseline(audit({(root_ / "a").string()})));
  EXPECT_EQ(exit_code(audit({(root_ / "a").string()}, options), Level::kHigh), 0);
  write("a/nginx.conf", with_geos({"one", "two"}));
  EXPECT_EQ(exit_code(audit({(root_ / "a").string()}, options), Level::kHigh), 1);

  write("b/one/site.conf", with_geos({"one"}));
  options.baseline_path = write("baseline", render_baseline(audit({(root_ / "b").string()})));
  EXPECT_EQ(exit_code(audit({(root_ / "b").string()}, options), Level::kHigh), 0);
  write("b/two/site.conf", with_geos({"one"}));
  EXPECT_EQ(exit_code(audit({(root_ / "b").string()}, options), Level::kHigh), 1);
}

TEST(Diff, ChangesOnlyTheLinesInQuestion) {
  const AuditResult result = audit_text("t.conf", with_tokens("# x"));
  EXPECT_EQ(unified_diff(result),
            "--- t.conf\n+++ t.conf\n@@ -1,5 +1,5 @@\n events {}\n http {\n   # x\n"
            "-  server_tokens on;\n+  server_tokens off;\n }\n");
}

TEST(Fixes, OfAHeaderAreLeftOutWhereLocationsReplaceTheirServersHeaders) {
  struct Case {
    const char* location;
    bool fixed;
  };
  for (const Case& one : {Case{"location / { root /srv/www; }", true},
                          Case{"location / { add_header X-A b; root /srv/www; }", false}}) {
    const AuditResult result = audit_text(
        "nginx.conf", fmt::format("events {{}}\nhttp {{\n  server {{\n    listen 443 ssl;\n"
                                  "    server_name a.example.com;\n    {}\n  }}\n}}\n",
                                  one.location));
    const auto found = std::ranges::find(result.findings, "HDR-07", &Finding::rule);
    ASSERT_NE(found, result.findings.end());
    EXPECT_EQ(!found->fix.empty(), one.fixed) << one.location;
  }
}

TEST(Grades, AreCappedByTheGravestFindingAndByGaps) {
  AuditResult result;
  EXPECT_EQ(grade(result).letter, '?');
  result.counts.files = 1;
  EXPECT_EQ(grade(result).letter, 'A');
  result.gaps.push_back({});
  EXPECT_EQ(grade(result).letter, 'C');
  result.findings.push_back({});
  result.findings[0].level = Level::kHigh;
  EXPECT_EQ(grade(result).letter, 'D');
  result.findings[0].waived = "known";
  EXPECT_EQ(grade(result).letter, 'C');
}

TEST(Grades, AreNotGivenForFindingsThatWereLeftOut) {
  AuditResult result;
  result.counts.files = 1;
  result.findings_cut = true;
  result.findings.push_back({});
  result.findings[0].level = Level::kMedium;
  EXPECT_EQ(grade(result).letter, '?');
  result.findings[0].level = Level::kCritical;
  EXPECT_EQ(grade(result).letter, 'F');
}

TEST(Lines, ShowNoControlCharactersOfTheConfiguration) {
  const AuditResult result = audit_text(
      "t\x1b[31m.conf", "events {}\nhttp { server_tokens on; include \"a\x1b[2Jb\"; }\n");
  const std::string text = render_lines(result);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_NE(text.find("\\x1b"), std::string::npos);
}

TEST(Patterns, ThatAreHarmlessLeaveRoomToTryTheOthers) {
  std::string text = "events {}\nhttp {\n  server {\n    listen 127.0.0.1:80;\n";
  for (int i = 0; i < 60; ++i) {
    text += "    location ~ ^/page" + std::to_string(i) + "/[a-z]+(?:-[a-z]+)*$ { return 404; }\n";
  }
  text += "    location ~ ^/last/(a+)+$ { return 404; }\n  }\n}\n";
  EXPECT_TRUE(has(audit_text("t.conf", text), "PTH-08"));
}

TEST(OnlyRules, LeavesTheOthersOut) {
  Options options;
  options.only_rules = {"INF-01"};
  const AuditResult result = audit_text(
      "t.conf", "events {}\nhttp { server_tokens on; underscores_in_headers on; }\n", options);
  ASSERT_EQ(result.findings.size(), 1U);
  EXPECT_EQ(result.findings[0].rule, "INF-01");
}

constexpr const char* kGateway = R"(version: 1
listeners: [{{ name: public, address: "0.0.0.0:8080" }}]
waivers:
  - {{ rule: cleartext-listener, on: listeners.public, reason: behind the balancer, owner: ops@a.test, expires: 2026-11-01 }}
upstreams: {{ app: {{ endpoints: ["{}:9000"], timeouts: {{ response: {} }} }} }}
routes:
  - {{ name: orders, match: {{ host: a.test, path: /orders/** }}, methods: [GET], auth: none, upstream: app }}
)";

/// What one error hides is said, and what does not depend on it is shown.
TEST(OwnConfiguration, ShowsItsWaiversBesideAnError) {
  Options options;
  options.now = 1'798'761'600;  // 2027-01-01
  const auto audited = [&](const char* host, const char* timeout) {
    return audit_text("merlon.yaml", fmt::format(kGateway, host, timeout), options);
  };
  const AuditResult loaded = audited("127.0.0.1", "30s");
  EXPECT_FALSE(loaded.exposure.empty());
  EXPECT_TRUE(loaded.not_checked.empty());

  // The upstream could not be read: whether it is spoken to in clear was not judged.
  const AuditResult refused = audited("10.0.0.9", "2h");
  ASSERT_EQ(refused.waivers.size(), 1U);
  EXPECT_EQ(refused.waivers[0].problem, "it expired on 2026-11-01");
  EXPECT_EQ(refused.gaps.size(), 1U);
  EXPECT_EQ(exit_code(refused, Level::kHigh), 3);

  // All of it was judged, and only its routes are not shown.
  const AuditResult violated = audited("10.0.0.9", "30s");
  EXPECT_TRUE(has(violated, "UPS-01"));
  EXPECT_EQ(violated.waivers.size(), 1U);
  EXPECT_TRUE(violated.gaps.empty());
  EXPECT_EQ(violated.not_checked.size(), 1U);
}

}  // namespace
}  // namespace merlon::audit
