#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "audit/certificate.h"
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

void check_dates(Inspection& in, const Loaded& one) {
  const Certificate& leaf = one.chain.front();
  const std::int64_t left = leaf.not_after - in.now;
  const std::int64_t life = leaf.not_after - leaf.not_before;
  std::string what;
  Level level = Level::kCritical;
  if (leaf.not_before > in.now) {
    what = "the certificate is not valid yet";
  } else if (left < 0) {
    what = fmt::format("the certificate expired {} days ago", -left / kDay);
  } else if (left < 7 * kDay && left < life / 3) {
    level = Level::kHigh;
    what = fmt::format("the certificate expires in {} days", left / kDay);
  } else if (left < std::min(30 * kDay, life / 3)) {
    level = Level::kMedium;
    what = fmt::format("the certificate expires in {} days", left / kDay);
  }
  if (!what.empty()) in.report("CRT-01", level, one.at(), std::move(what));
}

/// A wildcard stands for exactly one label (RFC 6125 §6.4.3).
bool covers(std::string_view pattern, std::string_view name) {
  if (!pattern.starts_with("*.") || name.starts_with("*.")) return ascii::iequals(pattern, name);
  const std::size_t dot = name.find('.');
  return dot != std::string_view::npos && ascii::iequals(pattern.substr(1), name.substr(dot));
}

void check_names(Inspection& in, const Loaded& one) {
  if (one.user == nullptr) return;
  const std::vector<std::string>& have = one.chain.front().names;
  std::vector<std::string> missing;
  for (const Node& node : one.user->match.list("server_names")) {
    const std::string_view name = node.text();
    const bool covered =
        std::ranges::any_of(have, [&](const std::string& p) { return covers(p, name); });
    if (!covered) missing.emplace_back(name);
  }
  if (missing.empty()) return;
  in.report("CRT-02", Level::kHigh, one.at(),
            fmt::format("the certificate is not for {}: it names {}", join_some(missing),
                        have.empty() ? "nothing" : join_some(have)));
}

void check_strength(Inspection& in, const Loaded& one) {
  const Certificate& leaf = one.chain.front();
  std::string what;
  if (leaf.key_type == "RSA" && leaf.key_bits < 2048) {
    what = fmt::format("the RSA key has {} bits: expected 2048 or more", leaf.key_bits);
  } else if (leaf.key_type == "EC" && leaf.key_bits < 224) {
    what = fmt::format("the EC key has {} bits: expected 256", leaf.key_bits);
  } else if (!leaf.self_signed &&
             (leaf.signature_digest == "sha1" || leaf.signature_digest == "md5")) {
    what = fmt::format("it is signed over {}: expected SHA-256", leaf.signature_digest);
  }
  if (!what.empty()) in.report("CRT-03", Level::kHigh, one.at(), std::move(what));
}

void check_chain(Inspection& in, const Loaded& one) {
  for (std::size_t i = 1; i < one.chain.size(); ++i) {
    if (issued_by(one.text, i - 1, i)) continue;
    in.report("CRT-04", Level::kMedium, one.at(),
              fmt::format("certificate {} of the file did not sign certificate {}: expected the "
                          "server's first, then each issuer",
                          i + 1, i));
    return;
  }
  if (one.chain.size() > 1 && one.chain.back().self_signed) {
    in.report("CRT-04", Level::kInfo, one.at(),
              "the root is sent along: clients have it, or do not believe it");
  }
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
    check_dates(in, one);
    check_names(in, one);
    check_strength(in, one);
    check_chain(in, one);
    check_issuer(in, one);
    check_pair(in, one);
  }
}

void check_key_places(Inspection& in) {
  const auto judge = [&](const Message& pair) {
    const Message key = pair.message("private_key");
    const std::string_view text = key.text("inline_string");
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
