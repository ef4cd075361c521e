#include "audit/nginx/known_files.h"

namespace merlon::audit::nginx {
namespace {

constexpr std::string_view kCertbotOptions = "/etc/letsencrypt/options-ssl-nginx.conf";

/// As certbot-nginx 1.10 to 5 has it (certbot_nginx/_internal/tls_configs).
constexpr std::string_view kCertbotText =
    R"(ssl_session_cache shared:le_nginx_SSL:10m;
ssl_session_timeout 1440m;
ssl_session_tickets off;

ssl_protocols TLSv1.2 TLSv1.3;
ssl_prefer_server_ciphers off;

ssl_ciphers "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384";
)";

}  // namespace

std::shared_ptr<const Source> well_known_file(std::string_view name) {
  if (name != kCertbotOptions) return nullptr;
  static const auto kSource = std::make_shared<const Source>(
      Source{std::string(kCertbotOptions), std::string(kCertbotText)});
  return kSource;
}

}  // namespace merlon::audit::nginx
