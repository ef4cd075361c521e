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
  [[nodiscard]] std::vector<std::string> take_paths() && {
    std::vector<std::string> paths;
    paths.reserve(files_.size());
    for (PolicyFile& file : files_) paths.push_back(std::move(file.path));
    return paths;
  }
  void add_keys(const identity::ProviderConfig& provider) {
    if (provider.api_keys.has_value()) add(provider.api_keys->file);
  }

 private:
  std::vector<PolicyFile> files_;
};

void add_unwatched(const Config& config, Collector& files) {
  for (const RouteConfig& route : config.routes) {
    files.add(policy::setting<policy::Body>(route).schema);
  }
}

/// The `tls` block towards Redis; null without one.
const tls::UpstreamTls* redis_tls(const Config& config) {
  if (!config.shared_state.has_value() || !config.shared_state->redis.tls.has_value())
    return nullptr;
  return &*config.shared_state->redis.tls;
}

void add_watched(const Config& config, Collector& files) {
  for (const ListenerConfig& listener : config.listeners) {
    if (!listener.tls.has_value()) continue;
    files.add(listener.tls->client_auth);
    for (const tls::CertificateFiles& pair : listener.tls->certificates) {
      files.add(pair.cert);
      files.add(pair.key);
      files.add(pair.client_auth);
    }
  }
  const auto add_tls = [&](const tls::UpstreamTls& tls) {
    for (const auto* file : {&tls.ca, &tls.cert, &tls.key}) files.add(*file);
  };
  for (const auto& [name, upstream] : config.upstreams) {
    if (upstream.tls.has_value()) add_tls(*upstream.tls);
  }
  if (const tls::UpstreamTls* const tls = redis_tls(config)) add_tls(*tls);
  if (config.shared_state.has_value()) files.add(config.shared_state->redis.password_file);
  for (const auto& [name, provider] : config.identity) {
    if (provider.tls.has_value()) files.add(provider.tls->ca);
    if (provider.introspection.has_value()) files.add(provider.introspection->secret_file);
    files.add(provider.jwks_file);
    files.add(provider.revocations);
    files.add_keys(provider);
  }
}

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
  add_unwatched(config, files);
  if (const tls::UpstreamTls* const tls = redis_tls(config)) files.add(tls->ca);
  return std::move(files).take();
}

std::vector<std::string> unwatched_files(const Config& config) {
  Collector files;
  add_unwatched(config, files);
  return std::move(files).take_paths();
}

std::vector<std::string> watched_files(const Config& config) {
  Collector files;
  add_watched(config, files);
  return std::move(files).take_paths();
}

std::vector<PolicyFile> named_files(const Config& config) {
  Collector files;
  add_watched(config, files);
  add_unwatched(config, files);
  return std::move(files).take();
}

ReadWitness::ReadWitness(io::Broker& broker, const Config& config, Texts given)
    : broker_(broker), files_(policy_files(config)), given_(std::move(given)), texts_(given_) {
  for (const std::string& path : unwatched_files(config)) texts_.emplace(path, "");
  for (const PolicyFile& file : files_) digests_.emplace(file.path, "");
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

void ReadWitness::not_taken(const Mark& at, const Digests& in_force) {
  for (const PolicyFile& file : files_) {
    const bool named = at.same_place(file.at);
    if (!named && (at.source == nullptr || at.source->path != file.path)) continue;
    const auto before = in_force.find(file.path);
    digests_[file.path] = before == in_force.end() ? "" : before->second;
  }
}

void ReadWitness::add_to(Digest& digest) const {
  for (const PolicyFile& file : files_) digest.add(digests_.at(file.path));
}

}  // namespace merlon::gateway
