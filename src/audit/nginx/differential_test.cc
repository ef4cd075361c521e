#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "audit/audit.h"
#include "audit/nginx/directives.h"
#include "audit/nginx/files.h"
#include "audit/nginx/model.h"

// What this auditor says against what a real nginx does, where one is installed.
namespace merlon::audit::nginx {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNginx = "/usr/sbin/nginx";

std::string run(const std::string& command) {
  std::string out;
  std::FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return out;
  std::array<char, 4096> buffer{};
  while (std::fgets(buffer.data(), buffer.size(), pipe) != nullptr) out += buffer.data();
  ::pclose(pipe);
  return out;
}

/// Complaints of nginx about its surroundings or its build, not about what is written.
bool is_about_surroundings(const std::string& complaint) {
  for (const char* words :
       {"cannot load certificate", "host not found", "dlopen()", "unknown directive",
        "zero size shared memory", "open()", "mkdir()", "getpwnam", "getgrnam", "bind()",
        "could not build", "SSL_CTX", "no \"ssl_certificate\" is defined", "PEM_read",
        "BIO_new_file", "still could not bind", "no resolver",
        // Variables may come from modules that this nginx lacks.
        "\" variable"}) {
    if (complaint.find(words) != std::string::npos) return true;
  }
  return false;
}

/// What nginx refuses the file for; "" when it takes it, or would elsewhere.
std::string refusal_of(const fs::path& conf, const fs::path& scratch) {
  const std::string said =
      run(fmt::format("{} -t -q -p {} -c {}", kNginx, scratch.string(), conf.string()));
  const std::size_t at = said.find("[emerg]");
  if (at == std::string::npos || is_about_surroundings(said)) return {};
  return said.substr(at);
}

class AgainstNginx : public testing::Test {
 protected:
  void SetUp() override {
    if (::access(kNginx, X_OK) != 0) GTEST_SKIP() << "nginx is not installed";
    std::string name = (fs::temp_directory_path() / "merlon-nginx-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    scratch_ = name;
  }
  void TearDown() override {
    if (!scratch_.empty()) fs::remove_all(scratch_);
  }
  fs::path scratch_;
};

bool refuses(const AuditResult& result) {
  for (const Finding& finding : result.findings) {
    if (finding.rule == "CFG-01") return true;
  }
  return false;
}

TEST_F(AgainstNginx, AgreesOnWhatParses) {
  std::vector<fs::path> files;
  const fs::path fixtures = fs::path(MERLON_SOURCE_DIR) / "tests" / "audit" / "nginx";
  for (const auto& entry : fs::directory_iterator(fixtures)) {
    if (entry.path().extension() == ".conf") files.push_back(entry.path());
  }
  if (fs::exists("/etc/nginx/nginx.conf")) files.emplace_back("/etc/nginx/nginx.conf");
  for (const fs::path& file : files) {
    std::ifstream in(file);
    const std::string text((std::istreambuf_iterator<char>(in)), {});
    if (text.find("events") == std::string::npos) continue;  // a fragment: nginx takes wholes only
    const std::string refusal = refusal_of(file, scratch_);
    const AuditResult result = audit({file.string()});
    // nginx stops at its first complaint, which may be about a module that it lacks.
    if (!refusal.empty()) EXPECT_TRUE(refuses(result)) << file << ": " << refusal;
    if (refusal.empty() && file.filename() != "refused.conf") {
      EXPECT_TRUE(result.gaps.empty())
          << file << ": " << (result.gaps.empty() ? "" : result.gaps.front().what);
    }
  }
}

TEST_F(AgainstNginx, AgreesOnSmallMistakes) {
  const char* bodies[] = {
      "gzip on;",
      "gzip maybe;",
      "gzip;",
      "gzip on off;",
      "gzip on; gzip on;",
      "server { listen 80; }",
      "server { listen 80 }",
      "server { listen 80; ",
      "server { listen 80; } }",
      "server { location / { } }",
      "server { location { } }",
      "server { if ($arg_a) { return 403; } }",
      "server { if ($arg_a) { gzip on; } }",
      "server { location / { if ($arg_a) { gzip on; } } }",
      "server { location / { if ($arg_a) { proxy_set_header A b; } } }",
      "server { location / { limit_except GET { deny all; } } }",
      "server { location / { limit_except GET { return 403; } } }",
      "map $uri $x { default 0; }",
      "map $uri { default 0; }",
      "server { map $uri $x { default 0; } }",
      "upstream u { server 127.0.0.1; keepalive 1; }",
      "upstream u { listen 80; }",
      "worker_processes 1;",
      "server { return 200 \"a;b}\"; }",
      "server { return 200 'a\"b'; }",
      "server { return 200 a\\;b; }",
      "server { return 200 \"a\"b; }",
      "server { return 200 ${host}x; }",
      "server { return 200 \"${host}\"; }",
      "client_max_body_size 10m;",
      "client_max_body_size 10x;",
      "client_max_body_size -1;",
      "send_timeout 1h30m;",
      "send_timeout 30q;",
      "types { text/html html; }",
      "keepalive_requests 10k;",
      "ssl_protocols TLSv1.2 TLSv1.3;",
      "ssl_protocols TLSv1.4;",
      "satisfy some;",
      "add_header A;",
      "add_header A b always;",
      "add_header A b always x;",
      "server { root /a; root /b; }",
      "server { location /a { alias /b; } }",
      "location / { }",
      "server { stub_status; }",
      "proxy_pass http://127.0.0.1;",
      "include /nowhere/*.conf;",
      "# only a comment",
      "",
      "geo $x { default 0; 10.0.0.0/8 1; }",
      "log_format a $uri; access_log /dev/null a;",
      "} server {",
      "\"gzip\" on;",
      "'gzip' 'on';",
  };
  for (const char* body : bodies) {
    const fs::path conf = scratch_ / "t.conf";
    std::ofstream(conf) << "events {}\nhttp {\n" << body << "\n}\n";
    const std::string refusal = refusal_of(conf, scratch_);
    const AuditResult result = audit({conf.string()});
    EXPECT_EQ(refuses(result), !refusal.empty()) << body << "\n" << refusal;
  }
}

/// Random servers: locations of all kinds, nested ones too, each with headers now and then.
class Maker {
 public:
  explicit Maker(std::uint32_t seed) : random_(seed) {}

  std::string config(int port, int servers) {
    std::string out = fmt::format(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr emerg;\n"
        "events {{}}\nhttp {{\naccess_log off;\nadd_header X-Level http;\n");
    for (int i = 0; i < servers; ++i) {
      out += fmt::format("server {{ listen 127.0.0.1:{}; server_name s{};\n", port, i);
      if (chance(2)) out += fmt::format("add_header X-Level server{};\n", i);
      used_.clear();
      for (int j = 0; j < 7; ++j) out += location("", 0);
      out += "}\n";
    }
    return out + "}\n";
  }

  std::string path() {
    std::string out;
    for (int i = pick(4); i >= 0; --i) out += "/" + word();
    if (chance(2)) out += chance(2) ? ".php" : ".x";
    return out;
  }

 private:
  int pick(int below) { return static_cast<int>(random_() % static_cast<std::uint32_t>(below)); }
  bool chance(int in) { return pick(in) == 0; }
  std::string word() {
    static constexpr const char* kWords[] = {"a", "b", "ab", "abc"};
    return kWords[pick(4)];
  }

  std::string location(const std::string& under, int depth) {
    static constexpr const char* kRegexes[] = {"\\.php$", "^/a",      "b/",
                                               "\\.x$",   "^/ab/.*c", "/a(b|$)"};
    std::string head;
    std::string prefix;
    const int kind = pick(6);
    if (kind < 3) {
      prefix = under.empty() ? path() : under + (chance(2) ? "/" : "") + word();
      if (!used_.insert(prefix).second) return {};
      head = (kind == 2 ? "^~ " : "") + prefix;
    } else if (kind == 3) {
      prefix = under.empty() ? path() : under + "/" + word();
      if (!used_.insert("=" + prefix).second) return {};
      head = "= " + prefix;
    } else {
      head = fmt::format("{} {}", kind == 4 ? "~" : "~*", kRegexes[pick(6)]);
    }
    std::string out = fmt::format("location {} {{ ", head);
    const int id = next_++;
    if (chance(3)) out += fmt::format("add_header X-Level l{}; ", id);
    if (kind < 3 && depth < 2 && chance(2)) {
      for (int i = 0; i < 3; ++i) out += location(prefix, depth + 1);
    }
    return out + fmt::format("return 200 id{}; }}\n", id);
  }

  std::mt19937 random_;
  int next_ = 0;
  std::set<std::string> used_;
};

int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  const bool bound = ::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                     ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  ::close(fd);
  return bound ? ntohs(address.sin_port) : 0;
}

/// The answer to one request on a connection of its own; "" when there is none.
std::string ask(int port, const std::string& host, const std::string& path) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  std::string out;
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
    const std::string request = fmt::format("GET {} HTTP/1.0\r\nHost: {}\r\n\r\n", path, host);
    std::array<char, 4096> buffer{};
    if (::send(fd, request.data(), request.size(), MSG_NOSIGNAL) > 0) {
      for (ssize_t n = 0; (n = ::recv(fd, buffer.data(), buffer.size(), 0)) > 0;) {
        out.append(buffer.data(), static_cast<std::size_t>(n));
      }
    }
  }
  ::close(fd);
  return out;
}

std::string field_of(const std::string& answer, const std::string& name) {
  const std::size_t at = answer.find("\r\n" + name + ": ");
  if (at == std::string::npos) return {};
  const std::size_t from = at + name.size() + 4;
  return answer.substr(from, answer.find("\r\n", from) - from);
}

/// What tells locations and levels apart in an answer; empty where no location answers.
struct Answer {
  std::string body;
  std::string level;
  bool operator==(const Answer&) const = default;
};

Answer predicted(const Model& model, const Server& server, const std::string& path) {
  const Location* location = model.match(server, path);
  const Scope& scope = location == nullptr ? *server.scope : *location->scope;
  const Directive* header = scope.effective("add_header");
  Answer out;
  // Without a location nginx looks for a file and finds none: no add_header on a 404.
  if (location != nullptr) {
    out.body = scope.own("return")->arg(1);
    out.level = header == nullptr ? "" : header->arg(1);
  }
  return out;
}

Answer received(const std::string& answer) {
  Answer out;
  if (answer.find(" 200 ") == std::string::npos) return out;
  out.body = answer.substr(answer.find("\r\n\r\n") + 4);
  out.level = field_of(answer, "X-Level");
  return out;
}

TEST_F(AgainstNginx, AgreesOnLocationsAndInheritance) {
  constexpr int kServers = 25;
  constexpr int kPaths = 40;
  Maker maker(20261123);
  const int port = free_port();
  ASSERT_NE(port, 0);
  const fs::path conf = scratch_ / "nginx.conf";
  std::ofstream(conf) << maker.config(port, kServers);
  Model model;
  NoIncludes none;
  std::ifstream in(conf);
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  parse(model.tree, std::make_shared<const Source>(Source{conf.string(), text}), none);
  check_directives(model.tree, model.unknown);
  ASSERT_TRUE(model.tree.problems.empty()) << model.tree.problems[0].what;
  build_model(model);

  std::string program(kNginx);
  std::string prefix = scratch_.string() + "/";
  std::string path = conf.string();
  std::array<char*, 6> arguments = {program.data(), const_cast<char*>("-p"),
                                    prefix.data(),  const_cast<char*>("-c"),
                                    path.data(),    nullptr};
  pid_t child = 0;
  ASSERT_EQ(::posix_spawn(&child, kNginx, nullptr, nullptr, arguments.data(), environ), 0);
  for (int i = 0; i < 200 && ask(port, "s0", "/").empty(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  for (int i = 0; i < kServers; ++i) {
    const Server& server = model.servers[static_cast<std::size_t>(i)];
    for (int j = 0; j < kPaths; ++j) {
      const std::string asked = maker.path();
      const Answer real = received(ask(port, fmt::format("s{}", i), asked));
      const Answer model_says = predicted(model, server, asked);
      EXPECT_EQ(real.body, model_says.body) << server.label() << asked;
      EXPECT_EQ(real.level, model_says.level) << server.label() << asked;
    }
  }
  ::kill(child, SIGTERM);
  int status = 0;
  ::waitpid(child, &status, 0);
}

}  // namespace
}  // namespace merlon::audit::nginx
