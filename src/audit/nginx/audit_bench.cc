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
  std::string name = (fs::temp_directory_path() / "merlon-bench-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) return state.SkipWithError("no folder to write to");
  const fs::path root(name);
  fs::create_directories(root / "conf.d");
  std::ofstream(root / "nginx.conf") << "events {}\nhttp {\n  include conf.d/*.conf;\n}\n";
  for (int i = 0; i < 400; ++i) {
    std::ofstream(root / "conf.d" / fmt::format("{:03}.conf", i)) << virtual_host(i);
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(audit({root.string()}));
  }
  fs::remove_all(root);
}
BENCHMARK(BM_Audit400Files)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace merlon::audit
