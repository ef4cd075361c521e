#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>

#include "audit/certificate_verdict.h"
#include "audit/nginx/rules.h"
#include "base/ascii.h"

namespace merlon::audit::nginx {
namespace {

constexpr std::int64_t kDay = 86'400;

/// A certificate file that some server names, with what is in it.
struct Loaded {
  const Directive* at = nullptr;
  std::string path;
  std::string text;
  std::vector<Certificate> chain;
  std::vector<const Server*> servers;
};

std::string full_path(const Inspection& in, std::string_view name) {
  if (name.starts_with('/')) return std::string(name);
  const std::string& main = in.model.tree.files.front()->path;
  return main.substr(0, main.rfind('/') + 1) + std::string(name);
}

/// Every certificate that is in force in a server with TLS and whose file could be read.
std::vector<Loaded> load(Inspection& in) {
  std::vector<Loaded> out;
  if (!in.on_disk) return out;
  for (const Server& server : in.model.servers) {
    if (!server.has_tls()) continue;
    for (const Directive* at : server.scope->effective_all("ssl_certificate")) {
      if (at->arg(0).find('$') != std::string_view::npos || at->arg(0).starts_with("data:")) {
        continue;
      }
      const auto found = std::ranges::find(out, at, &Loaded::at);
      if (found != out.end()) {
        found->servers.push_back(&server);
        continue;
      }
      const std::string path = full_path(in, at->arg(0));
      const FileReader::Read got = in.files.read(path, path);
      if (got.source == nullptr) {
        in.not_checked("CRT-01", "certificate files outside of the given folders are not read");
        continue;
      }
      Loaded one{at, path, got.source->text, parse_certificates(got.source->text), {&server}};
      if (!one.chain.empty()) out.push_back(std::move(one));
    }
  }
  return out;
}

void list_certificates(Inspection& in) {
  for (const Loaded& one : load(in)) {
    const Certificate& leaf = one.chain.front();
    in.out.certificates.push_back({one.at->mark(), one.path, leaf.subject, leaf.issuer, leaf.names,
                                   fmt::format("{} {}", leaf.key_type, leaf.key_bits),
                                   leaf.not_before, leaf.not_after});
  }
}

/// Names that stand for themselves: a certificate can be asked whether it has them.
std::vector<std::string_view> concrete_names(const Server& server) {
  std::vector<std::string_view> out;
  for (const std::string_view name : server.names) {
    const bool concrete = !name.empty() && name != "_" && !name.starts_with('~') &&
                          name.find('*') == std::string_view::npos && !name.starts_with('.') &&
                          name.find('.') != std::string_view::npos;
    if (concrete) out.push_back(name);
  }
  return out;
}

void check_certificates(Inspection& in) {
  list_certificates(in);
  for (const Loaded& one : load(in)) {
    for (CertificateVerdict& verdict : judge_certificate(one.text, one.chain, in.now)) {
      in.report(verdict.rule, verdict.level, *one.at, std::move(verdict.what))
          .affected.push_back(one.servers.front()->label());
    }
    const Certificate& leaf = one.chain.front();
    for (const Server* server : one.servers) {
      const auto missing = names_not_covered(leaf, concrete_names(*server));
      if (missing.empty()) continue;
      in.report("CRT-02", Level::kHigh, *one.at, not_covered_text(leaf, missing))
          .affected.push_back(server->label());
    }
  }
}

/// Why nginx staples nothing to this certificate in this server; "" when it may. It looks for the
/// issuer first, and for the responder then.
std::string_view unstapled(const Loaded& one, const Scope& server) {
  const Certificate& leaf = one.chain.front();
  if (one.chain.size() == 1 && server.effective("ssl_trusted_certificate") == nullptr) {
    return "the file holds no issuer of the certificate, and no ssl_trusted_certificate names one";
  }
  if (!leaf.has_ocsp && server.effective("ssl_stapling_responder") == nullptr) {
    return "the certificate names no OCSP responder";
  }
  return {};
}

void check_stapled(Inspection& in) {
  for (const Loaded& one : load(in)) {
    for (const Server* server : one.servers) {
      const Scope& scope = *server->scope;
      const Directive* stapling = scope.effective("ssl_stapling");
      if (stapling == nullptr || stapling->arg(0) != "on") continue;
      if (scope.effective("ssl_stapling_file") != nullptr) continue;
      const std::string_view why = unstapled(one, scope);
      if (why.empty()) continue;
      Finding& finding =
          in.report("TLS-11", Level::kInfo, *stapling,
                    fmt::format("nginx staples nothing for {}: {}", one.at->arg(0), why));
      finding.trail.push_back({one.at->mark(), "the certificate is this one"});
      finding.affected.push_back(server->label());
    }
  }
}

bool is_everywhere_local(const Loaded& one) {
  return std::ranges::all_of(one.servers, [](const Server* server) { return server->is_local(); });
}

/// The certificates that packages make for every host.
bool is_made_up(std::string_view path) { return path.find("snakeoil") != std::string_view::npos; }

/// A default server that gives no client anything, as it should: whoever comes to it asked for a
/// host that nobody serves.
bool refuses_everyone(const Server& server) {
  const bool fallback = std::ranges::find(server.names, "_") != server.names.end() ||
                        std::ranges::any_of(server.listens, &Listen::default_server);
  if (!fallback) return false;
  if (server.scope->flag("ssl_reject_handshake", false)) return true;
  if (return_status(*server.scope) >= 400) return true;
  bool all = false;
  for (const Location* location : server.all_locations) {
    if (return_status(*location->scope) < 400 && !is_denied_to_all(*location->scope)) return false;
    all = all || location->path == "/";
  }
  return all;
}

void check_self_signed(Inspection& in) {
  for (const Loaded& one : load(in)) {
    if (!one.chain.front().self_signed || is_everywhere_local(one)) continue;
    if (is_made_up(one.at->arg(0))) continue;
    if (std::ranges::all_of(one.servers, [](const auto* s) { return refuses_everyone(*s); })) {
      continue;
    }
    in.report("CRT-05", Level::kMedium, *one.at,
              "the certificate is signed by itself: no client can verify it")
        .affected.push_back(one.servers.front()->label());
  }
  for (const Server& server : in.model.servers) {
    if (!server.has_tls() || server.is_local() || refuses_everyone(server)) continue;
    for (const Directive* at : server.scope->effective_all("ssl_certificate")) {
      if (!is_made_up(at->arg(0))) continue;
      in.report("CRT-05", Level::kMedium, *at,
                "the certificate that the package made up for this host is shown to clients")
          .affected.push_back(server.label());
    }
  }
}

void check_pairs(Inspection& in) {
  for (const Loaded& one : load(in)) {
    const Server& server = *one.servers.front();
    const auto certificates = server.scope->effective_all("ssl_certificate");
    const auto keys = server.scope->effective_all("ssl_certificate_key");
    const auto place = std::ranges::find(certificates, one.at) - certificates.begin();
    if (static_cast<std::size_t>(place) >= keys.size()) continue;
    const Directive* key = keys[static_cast<std::size_t>(place)];
    const std::string path = full_path(in, key->arg(0));
    const FileReader::Read got = in.files.read(path, path);
    if (got.source == nullptr) continue;
    const auto half = public_half(got.source->text);
    if (!half || *half == one.chain.front().public_key) continue;
    in.report("CRT-06", Level::kCritical, *key,
              fmt::format("the key does not belong to {}: nginx does not start", one.at->arg(0)))
        .affected.push_back(server.label());
  }
}

using Roots = std::multimap<std::string, const Directive*, std::less<>>;

/// What names the folders that files are served from, by folder without a slash at its end.
Roots roots_of(const Inspection& in) {
  Roots out;
  for (const Scope& scope : in.model.scopes) {
    const Directive* root = scope.own("root");
    if (root == nullptr || root->arg(0).size() < 2) continue;
    std::string folder = named_folder(in, *root);
    while (folder.ends_with('/')) folder.pop_back();
    out.emplace(std::move(folder), root);
  }
  return out;
}

/// The root by which clients get `file`; nullptr when there is none.
const Directive* root_that_serves(const Inspection& in, const Roots& roots, std::string_view file) {
  for (std::size_t end = file.find('/', 1); end != std::string_view::npos;
       end = file.find('/', end + 1)) {
    const auto [first, last] = roots.equal_range(file.substr(0, end));
    const auto serves = [&](const auto& root) { return serves_file(in, *root.second, file); };
    const auto found = std::find_if(first, last, serves);
    if (found != last) return found->second;
  }
  return nullptr;
}

/// Reports a key file whose mode lets others read it, or that clients can fetch; nullptr when it is
/// neither.
Finding* report_open_key(Inspection& in, const Roots& roots, const Directive& key,
                         const std::string& path) {
  struct stat about{};
  const bool looked = in.on_disk && in.files.allowed(path) && ::stat(path.c_str(), &about) == 0 &&
                      S_ISREG(about.st_mode);
  // 0640 with a group for those who serve TLS is how Debian does it.
  if (looked && (about.st_mode & 037) != 0) {
    return &in.report("CRT-07", Level::kHigh, key,
                      fmt::format("others may read the private key {} (mode {:04o}): expected 0600",
                                  path, about.st_mode & 07777));
  }
  const Directive* root = root_that_serves(in, roots, key.arg(0));
  if (root == nullptr) return nullptr;
  Finding& finding = in.report(
      "CRT-07", Level::kHigh, key,
      fmt::format("the private key lies under {}, from which files are served", root->arg(0)));
  finding.trail.push_back({root->mark(), "served from here"});
  return &finding;
}

void check_key_files(Inspection& in) {
  const Roots roots = roots_of(in);
  std::map<std::string, Finding*> reported;  // by the file: many servers may name the same one
  for (const Scope& scope : in.model.scopes) {
    for (const Name name : {Name("ssl_certificate_key"), Name("proxy_ssl_certificate_key")}) {
      for (const Directive* key : scope.own_all(name)) {
        if (key->arg(0).find('$') != std::string_view::npos) continue;
        const std::string path = full_path(in, key->arg(0));
        const auto known = reported.find(path);
        Finding* finding =
            known != reported.end() ? known->second : report_open_key(in, roots, *key, path);
        if (finding == nullptr) continue;
        reported.emplace(path, finding);
        finding->affected.push_back(in.model.route_of(scope));
      }
    }
  }
}

void check_lifetime(Inspection& in) {
  for (const Loaded& one : load(in)) {
    const Certificate& leaf = one.chain.front();
    const std::int64_t days = (leaf.not_after - leaf.not_before) / kDay;
    if (days <= 398 || leaf.self_signed || is_everywhere_local(one)) continue;
    Finding& finding = in.report(
        "CRT-08", Level::kLow, *one.at,
        fmt::format("the certificate is good for {} days: browsers take 398 at most", days));
    finding.confidence = Confidence::kPossible;
  }
}

constexpr RuleEntry kRules[] = {
    {"CRT-01", check_certificates},
    {"CRT-02", nullptr},
    {"CRT-03", nullptr},
    {"CRT-04", nullptr},
    {"CRT-05", check_self_signed},
    {"CRT-06", check_pairs},
    {"CRT-07", check_key_files},
    {"CRT-08", check_lifetime},
    {"TLS-11", check_stapled},
};

}  // namespace

std::span<const RuleEntry> certificate_rules() { return kRules; }

}  // namespace merlon::audit::nginx
