#include "gateway/policy_files.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "policy/body.h"

namespace merlon::gateway {
namespace {

using config::FilePath;
using config::Located;

class Collector {
 public:
  void add(const Located<FilePath>& file) { paths_.push_back(file->path); }
  void add(const std::optional<Located<FilePath>>& file) {
    if (file.has_value()) add(*file);
  }
  void add(const std::optional<tls::ClientAuthFiles>& clients) {
    if (!clients.has_value()) return;
    paths_.push_back(clients->ca->path);
    add(clients->crl);
  }
  [[nodiscard]] std::vector<std::string> take() && { return std::move(paths_); }
  void add_keys(const identity::ProviderConfig& provider) {
    if (provider.api_keys.has_value()) add(provider.api_keys->file);
  }

 private:
  std::vector<std::string> paths_;
};

}  // namespace

std::vector<std::string> policy_files(const Config& config) {
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
  std::vector<std::string> all = std::move(files).take();
  std::ranges::move(unwatched_files(config), std::back_inserter(all));
  return all;
}

std::vector<std::string> unwatched_files(const Config& config) {
  Collector files;
  for (const RouteConfig& route : config.routes) {
    files.add(policy::setting<policy::Body>(route).schema);
  }
  if (config.shared_state.has_value() && config.shared_state->redis.tls.has_value()) {
    files.add(config.shared_state->redis.tls->ca);
  }
  return std::move(files).take();
}

std::vector<std::string> watched_files(const Config& config) {
  Collector files;
  for (const ListenerConfig& listener : config.listeners) {
    if (!listener.tls.has_value()) continue;
    files.add(listener.tls->client_auth);
    for (const tls::CertificateFiles& pair : listener.tls->certificates) {
      files.add(pair.cert);
      files.add(pair.key);
      files.add(pair.client_auth);
    }
  }
  for (const auto& [name, upstream] : config.upstreams) {
    if (!upstream.tls.has_value()) continue;
    for (const auto* file : {&upstream.tls->ca, &upstream.tls->cert, &upstream.tls->key})
      files.add(*file);
  }
  for (const auto& [name, provider] : config.identity) {
    if (provider.tls.has_value()) files.add(provider.tls->ca);
    if (provider.introspection.has_value()) files.add(provider.introspection->secret_file);
    files.add(provider.jwks_file);
    files.add(provider.revocations);
    files.add_keys(provider);
  }
  return std::move(files).take();
}

ReadWitness::ReadWitness(io::Broker& broker, const Config& config, Texts given)
    : broker_(broker), paths_(policy_files(config)), given_(std::move(given)), texts_(given_) {
  for (const std::string& path : unwatched_files(config)) texts_.emplace(path, "");
  for (const std::string& path : paths_) digests_.emplace(path, "");
  // Also of those that nobody reads again.
  for (const auto& [path, text] : given_) note(path, text);
}

void ReadWitness::note(const std::string& path, const std::string& text) {
  const auto wanted = digests_.find(path);
  if (wanted == digests_.end()) return;
  Digest digest;
  wanted->second = digest.add(text).hex();
}

io::OsResult<std::string> ReadWitness::read_file(const std::string& path, std::size_t bytes_max) {
  const auto given = given_.find(path);
  if (given != given_.end()) return given->second;
  if (!states_.contains(path)) {
    const auto state = broker_.status(path);
    states_.emplace(path, state.has_value() ? std::optional(*state) : std::nullopt);
  }
  io::OsResult<std::string> text = broker_.read_file(path, bytes_max);
  if (!text.has_value()) return text;
  note(path, *text);
  const auto kept = texts_.find(path);
  if (kept != texts_.end()) kept->second = *text;
  return text;
}

void ReadWitness::add_to(Digest& digest) const {
  for (const std::string& path : paths_) digest.add(digests_.at(path));
}

}  // namespace merlon::gateway
