#include "audit/certificate_verdict.h"

#include <fmt/format.h>

#include <algorithm>

#include "audit/rule_run.h"
#include "base/ascii.h"

namespace merlon::audit {
namespace {

constexpr std::int64_t kDay = 86'400;

void judge_dates(const Certificate& leaf, std::int64_t now, std::vector<CertificateVerdict>& out) {
  const std::int64_t left = leaf.not_after - now;
  const std::int64_t life = leaf.not_after - leaf.not_before;
  const auto report = [&](Level level, std::string what) {
    out.push_back({"CRT-01", level, std::move(what)});
  };
  if (leaf.not_before > now) return report(Level::kCritical, "the certificate is not valid yet");
  if (left < 0) {
    return report(Level::kCritical,
                  fmt::format("the certificate expired {} days ago", -left / kDay));
  }
  // A certificate of 90 days is renewed with 30 left; one of a week never has more than a week.
  if (left >= std::min(30 * kDay, life / 3)) return;
  report(left < 7 * kDay ? Level::kHigh : Level::kMedium,
         fmt::format("the certificate expires in {} days", left / kDay));
}

void judge_strength(const Certificate& leaf, std::vector<CertificateVerdict>& out) {
  std::string what;
  if (leaf.key_type == "RSA" && leaf.key_bits < 2048) {
    what = fmt::format("the RSA key has {} bits: expected 2048 or more", leaf.key_bits);
  } else if (leaf.key_type == "EC" && leaf.key_bits < 224) {
    what = fmt::format("the EC key has {} bits: expected 256", leaf.key_bits);
  } else if (!leaf.self_signed &&
             (leaf.signature_digest == "sha1" || leaf.signature_digest == "md5")) {
    what = fmt::format("it is signed over {}: expected SHA-256", leaf.signature_digest);
  }
  if (!what.empty()) out.push_back({"CRT-03", Level::kHigh, std::move(what)});
}

void judge_order(std::string_view pem, std::span<const Certificate> chain,
                 std::vector<CertificateVerdict>& out) {
  for (std::size_t i = 1; i < chain.size(); ++i) {
    if (issued_by(pem, i - 1, i)) continue;
    out.push_back({"CRT-04", Level::kMedium,
                   fmt::format("certificate {} of the file did not sign certificate {}: expected "
                               "the server's first, then each issuer",
                               i + 1, i)});
    return;
  }
  if (chain.size() > 1 && chain.back().self_signed) {
    out.push_back(
        {"CRT-04", Level::kInfo, "the root is sent along: clients have it, or do not believe it"});
  }
}

/// A wildcard stands for exactly one label (RFC 6125 §6.4.3).
bool covers(std::string_view pattern, std::string_view name) {
  if (!pattern.starts_with("*.") || name.starts_with("*.")) return ascii::iequals(pattern, name);
  const std::size_t dot = name.find('.');
  return dot != std::string_view::npos && ascii::iequals(pattern.substr(1), name.substr(dot));
}

}  // namespace

std::vector<CertificateVerdict> judge_certificate(std::string_view pem,
                                                  std::span<const Certificate> chain,
                                                  std::int64_t now) {
  std::vector<CertificateVerdict> out;
  judge_dates(chain.front(), now, out);
  judge_strength(chain.front(), out);
  judge_order(pem, chain, out);
  return out;
}

std::vector<std::string> names_not_covered(const Certificate& leaf,
                                           std::span<const std::string_view> served) {
  std::vector<std::string> out;
  for (const std::string_view name : served) {
    const bool covered = std::ranges::any_of(
        leaf.names, [&](const std::string& pattern) { return covers(pattern, name); });
    if (!covered) out.emplace_back(name);
  }
  return out;
}

std::string not_covered_text(const Certificate& leaf, std::span<const std::string> missing) {
  return fmt::format("the certificate is not for {}: it names {}", join_some(missing),
                     leaf.names.empty() ? "nothing" : join_some(leaf.names));
}

}  // namespace merlon::audit
