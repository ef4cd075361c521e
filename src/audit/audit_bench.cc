#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "audit/audit.h"

namespace merlon::audit {
namespace {

namespace fs = std::filesystem;

/// A server with five proxied routes: 53 lines, as virtual hosts commonly look.
std::string virtual_host(int number) {
  std::string out = fmt::format(
      "server {{\n    listen 443 ssl;\n    server_name s{}.example.com;\n"
      "    ssl_certificate /etc/ssl/a.pem;\n    ssl_certificate_key /etc/ssl/a.key;\n"
      "    client_max_body_size 10m;\n    set $app app{};\n",
      number, number);
  for (int i = 0; i < 5; ++i) {
    out += fmt::format(
        "    location /p{} {{\n        proxy_set_header Host $host;\n"
        "        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n"
        "        add_header X-A b;\n        set $port 80{};\n"
        "        proxy_pass http://$app:$port;\n        proxy_read_timeout 30s;\n"
        "        # a comment\n    }}\n",
        i, i);
  }
  return out + "}\n";
}

/// A listener with TLS and two routes, and the clusters behind it: about 60 lines.
std::string envoy_edge(int number) {
  constexpr std::string_view kType = "type.googleapis.com/envoy.";
  std::string out = fmt::format(
      "static_resources:\n  listeners:\n    - name: edge{0}\n"
      "      address: {{ socket_address: {{ address: 0.0.0.0, port_value: 8443 }} }}\n"
      "      filter_chains:\n        - transport_socket:\n"
      "            name: envoy.transport_sockets.tls\n            typed_config:\n"
      "              \"@type\": {1}extensions.transport_sockets.tls.v3.DownstreamTlsContext\n"
      "              common_tls_context: {{ alpn_protocols: [h2] }}\n"
      "          filters:\n            - name: envoy.filters.network.http_connection_manager\n"
      "              typed_config:\n                \"@type\": {1}extensions.filters.network."
      "http_connection_manager.v3.HttpConnectionManager\n"
      "                stat_prefix: edge\n                use_remote_address: true\n"
      "                route_config:\n                  name: r\n"
      "                  virtual_hosts:\n                    - name: v\n"
      "                      domains: [s{0}.example.com]\n                      routes:\n",
      number, kType);
  for (const char* cluster : {"orders", "users"}) {
    out += fmt::format(
        "                        - match: {{ prefix: /{0} }}\n"
        "                          route: {{ cluster: {0}, timeout: 15s }}\n",
        cluster);
  }
  out += fmt::format(
      "                http_filters:\n                  - name: envoy.filters.http.router\n"
      "                    typed_config: {{ \"@type\": {}extensions.filters.http.router.v3.Router "
      "}}\n"
      "  clusters:\n",
      kType);
  for (const char* cluster : {"orders", "users"}) {
    out += fmt::format(
        "    - name: {0}\n      type: STRICT_DNS\n      connect_timeout: 2s\n"
        "      load_assignment:\n        cluster_name: {0}\n        endpoints:\n"
        "          - lb_endpoints:\n              - endpoint:\n                  address:\n"
        "                    socket_address: {{ address: {0}.internal, port_value: 8080 }}\n",
        cluster);
  }
  return out;
}

/// A folder of its own for files to read; removed at the end.
class Scratch {
 public:
  Scratch() {
    std::string name = (fs::temp_directory_path() / "merlon-bench-XXXXXX").string();
    if (::mkdtemp(name.data()) != nullptr) root_ = name;
  }
  ~Scratch() {
    std::error_code ignored;
    if (!root_.empty()) fs::remove_all(root_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  [[nodiscard]] const fs::path& root() const noexcept { return root_; }

 private:
  fs::path root_;
};

// Budget: one configuration in under 20 ms.
void BM_AuditOneConfiguration(benchmark::State& state) {
  const std::string text = "events {}\nhttp {\n" + virtual_host(1) + virtual_host(2) + "}\n";
  for (auto _ : state) {
    benchmark::DoNotOptimize(audit_text("nginx.conf", text));
  }
}
BENCHMARK(BM_AuditOneConfiguration)->Unit(benchmark::kMillisecond);

// Budget: 400 files of 20,000 lines in under 100 ms, read from the disk.
void BM_Audit400Files(benchmark::State& state) {
  const Scratch scratch;
  if (scratch.root().empty()) return state.SkipWithError("no folder to write to");
  fs::create_directories(scratch.root() / "conf.d");
  std::ofstream(scratch.root() / "nginx.conf")
      << "events {}\nhttp {\n  include conf.d/*.conf;\n}\n";
  for (int i = 0; i < 400; ++i) {
    std::ofstream(scratch.root() / "conf.d" / fmt::format("{:03}.conf", i)) << virtual_host(i);
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(audit({scratch.root().string()}));
  }
}
BENCHMARK(BM_Audit400Files)->Unit(benchmark::kMillisecond);

// Budget: one configuration in under 20 ms.
void BM_AuditOneEnvoy(benchmark::State& state) {
  const std::string text = envoy_edge(1);
  for (auto _ : state) {
    benchmark::DoNotOptimize(audit_text("envoy.yaml", text));
  }
}
BENCHMARK(BM_AuditOneEnvoy)->Unit(benchmark::kMillisecond);

// Budget: 2,000 files in under 2 s, read from the disk.
void BM_Audit2000EnvoyFiles(benchmark::State& state) {
  const Scratch scratch;
  if (scratch.root().empty()) return state.SkipWithError("no folder to write to");
  for (int i = 0; i < 2000; ++i) {
    std::ofstream(scratch.root() / fmt::format("{:04}.yaml", i)) << envoy_edge(i);
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(audit({scratch.root().string()}));
  }
}
BENCHMARK(BM_Audit2000EnvoyFiles)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace merlon::audit
