#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

#include "base/print_error.h"
#include "cli/run.h"
#include "gateway/server.h"

/// `merlon demo`: its own certificate authority, an API behind the gateway, three requests to try.
namespace merlon::cli {
namespace {

constexpr long kDay = 24L * 3600;

struct Free {
  void operator()(EVP_PKEY* p) const noexcept { EVP_PKEY_free(p); }
  void operator()(X509* p) const noexcept { X509_free(p); }
  void operator()(BIO* p) const noexcept { BIO_free(p); }
  void operator()(X509_EXTENSION* p) const noexcept { X509_EXTENSION_free(p); }
};
template <class T>
using Owned = std::unique_ptr<T, Free>;

/// Where temporary folders are made (POSIX TMPDIR).
std::string temporary_root() {
  const char* named = std::getenv("TMPDIR");
  return named != nullptr && *named != '\0' ? named : "/tmp";
}

/// A folder of its own under the system's temporary one; gone with this object. Its path is empty
/// when it could not be made, which errno tells of.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = temporary_root() + "/merlon-demo-XXXXXX";
    if (::mkdtemp(pattern.data()) != nullptr) path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

void extend(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Owned<X509_EXTENSION> extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value));
  if (extension != nullptr) X509_add_ext(certificate, extension.get(), -1);
}

Owned<X509> make_certificate(const char* name, EVP_PKEY* key, X509* issuer, EVP_PKEY* issuer_key,
                             long serial) {
  Owned<X509> certificate(X509_new());
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -300);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 90 * kDay);
  X509_set_pubkey(certificate.get(), key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name), -1, -1, 0);
  X509* const by = issuer == nullptr ? certificate.get() : issuer;
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(by));
  if (issuer == nullptr) {
    extend(certificate.get(), by, NID_basic_constraints, "critical,CA:TRUE");
    extend(certificate.get(), by, NID_key_usage, "critical,keyCertSign,cRLSign");
  } else {
    extend(certificate.get(), by, NID_basic_constraints, "critical,CA:FALSE");
    extend(certificate.get(), by, NID_key_usage, "critical,digitalSignature");
    extend(certificate.get(), by, NID_ext_key_usage, "serverAuth");
    extend(certificate.get(), by, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1,IP:::1");
  }
  X509_sign(certificate.get(), issuer_key, EVP_sha256());
  return certificate;
}

bool write_pem(const std::string& path, X509* certificate, EVP_PKEY* key) {
  // Opened by OpenSSL with the process's umask, which `run_demo` has narrowed.
  const Owned<BIO> out(BIO_new_file(path.c_str(), "w"));
  if (out == nullptr) return false;
  return certificate != nullptr
             ? PEM_write_bio_X509(out.get(), certificate) == 1
             : PEM_write_bio_PrivateKey(out.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1;
}

/// Writes ca.pem, cert.pem and key.pem into `folder`. The authority's key is never written.
bool make_pki(const std::string& folder) {
  const Owned<EVP_PKEY> ca_key(EVP_EC_gen("P-256"));
  const Owned<EVP_PKEY> key(EVP_EC_gen("P-256"));
  if (ca_key == nullptr || key == nullptr) return false;
  const Owned<X509> ca =
      make_certificate("Merlon demo authority", ca_key.get(), nullptr, ca_key.get(), 1);
  const Owned<X509> certificate =
      make_certificate("localhost", key.get(), ca.get(), ca_key.get(), 2);
  return write_pem(folder + "/ca.pem", ca.get(), nullptr) &&
         write_pem(folder + "/cert.pem", certificate.get(), nullptr) &&
         write_pem(folder + "/key.pem", nullptr, key.get());
}

std::string gateway_config(const std::string& folder, unsigned port, unsigned api_port) {
  return fmt::format(R"(version: 1
listeners:
  - name: public
    address: 127.0.0.1:{port}
    tls:
      certificates: [{{ cert: {folder}/cert.pem, key: {folder}/key.pem }}]
upstreams:
  orders:
    endpoints: [127.0.0.1:{api}]
routes:
  - name: orders
    match: {{ host: [localhost, 127.0.0.1], path: /api/v1/** }}
    methods: [GET, POST]
    auth: none
    upstream: orders
log: {{ access: "-", level: warning }}
)",
                     fmt::arg("folder", folder), fmt::arg("port", port), fmt::arg("api", api_port));
}

/// The API behind it: a second gateway in this process, with fixed answers.
std::string api_config(const std::string& folder, unsigned port) {
  return fmt::format(R"(version: 1
listeners:
  - {{ name: api, address: 127.0.0.1:{port} }}
routes:
  - name: orders
    match: {{ host: "*", path: /api/v1/orders }}
    methods: [GET, POST]
    auth: none
    respond: {{ status: 200, content_type: application/json, body: '{{"orders":[{{"id":1,"item":"tea"}},{{"id":2,"item":"milk"}}]}}' }}
limits: {{ workers: 1 }}
log: {{ access: {folder}/api.log, level: warning }}
)",
                     fmt::arg("folder", folder), fmt::arg("port", port));
}

int run_demo(unsigned port) {
  ::umask(0077);
  const TemporaryFolder folder;
  if (folder.path().empty()) {
    print_error("merlon demo: no folder can be made in {} ($TMPDIR, or /tmp): {}\n",
                temporary_root(), std::generic_category().message(errno));
    return 1;
  }
  if (!make_pki(folder.path())) {
    print_error("merlon demo: the certificates could not be made in {}\n", folder.path());
    return 1;
  }
  const std::unique_ptr<io::Broker> broker = io::make_local_broker();
  const SystemClock clock;
  gateway::Server api(*broker, clock,
                      {.path = "demo-api.yaml", .text = api_config(folder.path(), port + 1)});
  gateway::Server server(
      *broker, clock, {.path = "demo.yaml", .text = gateway_config(folder.path(), port, port + 1)});
  if (!api.start() || !server.start()) return 1;
  const std::string curl = fmt::format("curl --cacert {}/ca.pem", folder.path());
  fmt::print(
      "merlon demo: serving https://localhost:{port} until Ctrl-C. Try:\n\n"
      "  {curl} -i https://localhost:{port}/api/v1/orders\n"
      "      200 through the gateway: look at the security headers, and at what is not there\n"
      "  {curl} -i -X DELETE https://localhost:{port}/api/v1/orders\n"
      "      405 with Allow: the API never saw it\n"
      "  {curl} -i --path-as-is https://localhost:{port}/api/v1/../admin\n"
      "      400: a path that can be read two ways is refused\n\n"
      "The access log follows, one JSON line a request.\n",
      fmt::arg("port", port), fmt::arg("curl", curl));
  static_cast<void>(std::fflush(stdout));
  return server.run();
}

}  // namespace

void add_demo_command(CLI::App& app, int& exit_code) {
  CLI::App* command =
      app.add_subcommand("demo", "A complete gateway on loopback, without root and without a file");
  const auto port = std::make_shared<unsigned>(8443);
  command->add_option("--port", *port, "Where to listen; the demo API takes the next port")
      ->capture_default_str()
      ->check(CLI::Range(1U, 65534U));
  command->footer(
      "Exit codes: 0 stopped, 1 it could not start, 2 wrong usage.\nExample: merlon demo --port "
      "9443");
  command->callback([port, &exit_code] { exit_code = run_demo(*port); });
}

}  // namespace merlon::cli
