#include "gateway/policy_files.h"

#include <optional>
#include <utility>

#include "policy/body.h"

namespace merlon::gateway {
namespace {

using config::FilePath;
using config::Located;

class Collector {
 public:
  void add(const Located<FilePath>& file) { files_.push_back({.path = file->path, .at = file.at}); }
  void add(const std::optional<Located<FilePath>>& file) {
    if (file.has_value()) add(*file);
  }
  void add(const std::optional<tls::ClientAuthFiles>& clients) {
    if (!clients.has_value()) return;
    add(clients->ca);
    add(clients->crl);
  }
  [[nodiscard]] std::vector<PolicyFile> take() && { return std::move(files_); }
  void add_keys(const identity::ProviderConfig& provider) {
    if (provider.api_keys.has_value()) add(provider.api_keys->file);
  }

 private:
  std::vector<PolicyFile> files_;
};

}  // namespace

std::vector<PolicyFile> policy_files(const Config& config) {
  Collector files;
  for (const ListenerConfig& listener : config.listeners) {
    if (!listener.tls.has_value()) continue;
    files.add(listener.tls->client_auth);
    for (const tls::CertificateFiles& pair : listener.tls->certificates)
      files.add(pair.client_auth);
  }
  for (const auto& [name, upstream] : config.upstreams) {
    if (upstream.tls.has_value()) files.add(upstream.tls->ca);
  }
  for (const auto& [name, provider] : config.identity) {
    if (provider.tls.has_value()) files.add(provider.tls->ca);
    files.add(provider.jwks_file);
    files.add(provider.revocations);
    files.add_keys(provider);
  }
  for (const RouteConfig& route : config.routes) {
    files.add(policy::setting<policy::Body>(route).schema);
  }
  if (config.shared_state.has_value() && config.shared_state->redis.tls.has_value()) {
    files.add(config.shared_state->redis.tls->ca);
  }
  return std::move(files).take();
}

ReadWitness::ReadWitness(io::Broker& broker, std::vector<PolicyFile> files)
    : broker_(broker), files_(std::move(files)) {
  for (const PolicyFile& file : files_) read_.emplace(file.path, "");
}

io::OsResult<std::string> ReadWitness::read_file(const std::string& path, std::size_t bytes_max) {
  io::OsResult<std::string> text = broker_.read_file(path, bytes_max);
  const auto wanted = read_.find(path);
  if (text.has_value() && wanted != read_.end()) {
    Digest digest;
    wanted->second = digest.add(*text).hex();
  }
  return text;
}

void ReadWitness::add_to(Digest& digest) const {
  for (const PolicyFile& file : files_) digest.add(read_.at(file.path));
}

}  // namespace merlon::gateway
