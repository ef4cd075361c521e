#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "audit/certificate_verdict.h"
#include "audit/envoy/rules.h"
#include "base/ascii.h"

namespace merlon::audit::envoy {
namespace {

constexpr std::int64_t kDay = 86'400;

/// A certificate that the configuration names or holds, and the key beside it.
struct Loaded {
  Message pair;  ///< TlsCertificate
  std::string path;
  std::string text;
  std::vector<Certificate> chain;
  const FilterChain* user = nullptr;
  [[nodiscard]] Mark at() const { return pair.at("certificate_chain"); }
};

std::string full_path(const Inspection& in, std::string_view name) {
  return name.starts_with('/') ? std::string(name) : in.folder + "/" + std::string(name);
}

/// What a DataSource holds; "" when it cannot be read.
std::string contents(Inspection& in, const Message& source, std::string& path) {
  if (source.has("inline_string")) return std::string(source.text("inline_string"));
  const std::string_view name = source.text("filename");
  if (name.empty() || !in.on_disk) return {};
  path = full_path(in, name);
  const FileReader::Read got = in.files.read(path, path);
  if (got.source == nullptr) {
    in.not_checked("CRT-01", "certificate files outside of the given folders are not read");
    return {};
  }
  return got.source->text;
}

template <class F>
void each_pair(const Inspection& in, F&& visit) {
  std::set<const Node*> seen;
  for (const FilterChain& chain : in.model.chains) {
    if (chain.tls == nullptr) continue;
    for (const Node& one : chain.tls->common.list("tls_certificates")) {
      if (seen.insert(&one).second) visit(Message(one), &chain);
    }
  }
  for (const Message& secret : in.model.secrets) {
    if (const Message pair = secret.message("tls_certificate")) visit(pair, nullptr);
  }
}

std::vector<Loaded> load(Inspection& in) {
  std::vector<Loaded> out;
  each_pair(in, [&](const Message& pair, const FilterChain* user) {
    Loaded one{pair, {}, {}, {}, user};
    one.text = contents(in, pair.message("certificate_chain"), one.path);
    if (!one.text.empty()) one.chain = parse_certificates(one.text);
    if (!one.chain.empty()) out.push_back(std::move(one));
  });
  return out;
}

void check_names(Inspection& in, const Loaded& one) {
  if (one.user == nullptr) return;
  std::vector<std::string_view> served;
  for (const Node& node : one.user->match.list("server_names")) served.push_back(node.text());
  const Certificate& leaf = one.chain.front();
  const auto missing = names_not_covered(leaf, served);
  if (missing.empty()) return;
  in.report("CRT-02", Level::kHigh, one.at(), not_covered_text(leaf, missing));
}

void check_issuer(Inspection& in, const Loaded& one) {
  const Certificate& leaf = one.chain.front();
  if (one.user == nullptr || one.user->listener->is_local()) return;
  if (leaf.self_signed) {
    in.report("CRT-05", Level::kMedium, one.at(),
              "the certificate is signed by itself: no client can verify it");
    return;
  }
  constexpr std::int64_t kDaysMax = 398;
  const std::int64_t days = (leaf.not_after - leaf.not_before) / kDay;
  if (days <= kDaysMax) return;
  in.report("CRT-08", Level::kLow, one.at(),
            fmt::format("the certificate is good for {} days: browsers take 398 at most", days))
      .confidence = Confidence::kPossible;
}

void check_pair(Inspection& in, const Loaded& one) {
  std::string path;
  const std::string key = contents(in, one.pair.message("private_key"), path);
  const auto half = public_half(key);
  if (!half || *half == one.chain.front().public_key) return;
  in.report("CRT-06", Level::kCritical, one.pair.at("private_key"),
            "the key does not belong to the certificate: Envoy does not start");
}

void check_all(Inspection& in) {
  for (const Loaded& one : load(in)) {
    const Certificate& leaf = one.chain.front();
    in.out.certificates.push_back({one.at(), one.path, leaf.subject, leaf.issuer, leaf.names,
                                   fmt::format("{} {}", leaf.key_type, leaf.key_bits),
                                   leaf.not_before, leaf.not_after});
    for (CertificateVerdict& verdict : judge_certificate(one.text, one.chain, in.now)) {
      in.report(verdict.rule, verdict.level, one.at(), std::move(verdict.what));
    }
    check_names(in, one);
    check_issuer(in, one);
    check_pair(in, one);
  }
}

/// What the admin interface writes in place of the bytes of a secret, wherever that came from:
/// "[redacted]".
bool is_redacted(std::string_view base64) { return base64 == "W3JlZGFjdGVkXQ=="; }

void check_key_places(Inspection& in) {
  const auto judge = [&](const Message& pair) {
    const Message key = pair.message("private_key");
    const std::string_view text = key.text("inline_string");
    if (is_redacted(key.text("inline_bytes"))) return;
    if (text.find("PRIVATE KEY") != std::string_view::npos || key.has("inline_bytes")) {
      Finding& finding =
          in.report("CRT-07", Level::kHigh,
                    key.at(key.has("inline_bytes") ? "inline_bytes" : "inline_string"),
                    "the private key stands in the configuration: expected a file or SDS");
      finding.hide_source = true;
      return;
    }
    if (!in.on_disk || key.text("filename").empty()) return;
    const std::string path = full_path(in, key.text("filename"));
    struct stat about{};
    const bool looked =
        in.files.allowed(path) && ::stat(path.c_str(), &about) == 0 && S_ISREG(about.st_mode);
    if (!looked || (about.st_mode & 037) == 0) return;
    in.report("CRT-07", Level::kHigh, key.at("filename"),
              fmt::format("others may read the private key {} (mode {:04o}): expected 0600", path,
                          about.st_mode & 07777));
  };
  each_pair(in, [&](const Message& pair, const FilterChain*) { judge(pair); });
  for (const Cluster& cluster : in.model.clusters) {
    if (cluster.tls == nullptr) continue;
    for (const Node& one : cluster.tls->common.list("tls_certificates")) judge(Message(one));
  }
}

constexpr RuleEntry kRules[] = {
    {"CRT-01", check_all}, {"CRT-02", nullptr}, {"CRT-03", nullptr}, {"CRT-04", nullptr},
    {"CRT-05", nullptr},   {"CRT-06", nullptr}, {"CRT-08", nullptr}, {"CRT-07", check_key_places}};

}  // namespace

std::span<const RuleEntry> certificate_rules() { return kRules; }

}  // namespace merlon::audit::envoy
