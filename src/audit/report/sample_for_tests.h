#pragma once

#include <memory>
#include <string>

#include "audit/finding.h"

/// One result with everything that a writer must show, and the texts that a hostile configuration
/// would send through it. For tests only.
namespace merlon::audit::report {

/// Markup, the end of a CDATA section, a terminal escape, a byte that is no UTF-8, an override of
/// the writing direction, quotes, a SARIF placeholder and a link.
inline const std::string kHostile =
    "<script>alert(1)</script> ]]> \033[31m \xff \xe2\x80\xae \"'& {0} [x](http://evil.example)";
inline constexpr std::string_view kSecret = "hunter2-api-key";
inline constexpr std::int64_t kNow = 1'795'435'200;  // 2026-11-23T12:00:00Z
inline constexpr std::int64_t kDay = 86'400;

inline std::shared_ptr<const Source> sample_source(std::string_view before = "") {
  return std::make_shared<const Source>(Source{
      "conf/nginx.conf", std::string(before) +
                             "server {\n  listen 443 ssl;\n  ssl_protocols TLSv1 TLSv1.2;\n" +
                             "  set $key " + std::string(kSecret) + ";\n  add_header X \"" +
                             kHostile + "\";\n  server_tokens on; # \xc3\xa9\n}\n"});
}

inline Finding sample_finding(std::string rule, Level level, Mark at, std::string message) {
  Finding out;
  out.rule = std::move(rule);
  out.level = level;
  out.at = std::move(at);
  out.message = std::move(message);
  return out;
}

/// `before` is put before the text; `shift` is how many lines it has.
inline AuditResult sample_result(std::string_view before = "", std::uint32_t shift = 0) {
  AuditResult out;
  const auto source = sample_source(before);
  const auto at = [&](std::uint32_t line, std::uint32_t column, std::uint32_t length) {
    return Mark{source, line + shift, column, length};
  };
  Finding tls = sample_finding("TLS-01", Level::kHigh, at(3, 17, 5), "TLSv1 is offered");
  tls.evidence = "a client with TLSv1 only is served";
  tls.trail.push_back({at(1, 1, 6), "in this server"});
  tls.affected = {"api.example.com/", "api.example.com/v1", "a", "b", "c", "d", "e"};
  tls.fix.push_back({source, 3 + shift, 3 + shift, "  ssl_protocols TLSv1.2 TLSv1.3;\n"});
  out.findings.push_back(tls);
  Finding hostile = sample_finding("HDR-01", Level::kMedium, at(5, 14, 8), kHostile);
  hostile.evidence = kHostile;
  hostile.remediation = kHostile;
  hostile.confidence = Confidence::kLikely;
  hostile.trail.push_back({{}, kHostile});
  hostile.affected = {kHostile};
  out.findings.push_back(hostile);
  Finding secret = sample_finding("INF-08", Level::kCritical, at(4, 3, 3), "a key in the open");
  secret.hide_source = true;
  secret.fix.push_back(
      {source, 4 + shift, 4 + shift, "  set $key " + std::string(kSecret) + ";\n"});
  out.findings.push_back(secret);
  Finding waived = sample_finding("INF-01", Level::kLow, at(6, 3, 13), "the version is shown");
  waived.waived = "wanted: " + kHostile;
  out.findings.push_back(waived);
  Finding known = sample_finding("INF-02", Level::kLow, at(6, 3, 13), "the banner is shown");
  known.baseline = true;
  out.findings.push_back(known);
  normalize(out);
  out.kinds = {Kind::kNginx};
  out.inputs = {"conf", kHostile};
  out.gaps.push_back({at(2, 1, 6), "conf/\033]0;x\a.conf", kHostile});
  out.not_checked.push_back({"CRT-01", kHostile});
  out.unknown_directives = {kHostile};
  out.exposure.push_back({at(2, 3, 6), "0.0.0.0:443 ssl", kHostile, "/v1/ (prefix)", "-",
                          "limit_req 10r/s", "TLSv1 TLSv1.2", "http://orders", "-"});
  out.certificates.push_back({at(2, 3, 6),
                              kHostile,
                              "CN=api.example.com",
                              "CN=Example CA",
                              {"api.example.com", kHostile},
                              "EC P-256",
                              kNow - 30 * kDay,
                              kNow + 10 * kDay});
  out.certificates.push_back({at(2, 3, 6),
                              "old.pem",
                              "CN=old",
                              "CN=Example CA",
                              {"old"},
                              "RSA 1024",
                              kNow - 400 * kDay,
                              kNow - 5 * kDay});
  out.waivers.push_back({at(6, 20, 1), "INF-01", kHostile, "ops", "2027-02-01", false, true, ""});
  out.waivers.push_back(
      {at(6, 20, 1), kHostile, "", "", "2020-01-01", true, false, "it expired on 2020-01-01"});
  out.sources = {source};
  out.counts = {1, 7, 6, 0, 1, 0};
  note_judged(out, {"TLS-01", "HDR-01", "INF-08", "INF-01", "INF-02", "CRT-01"});
  return out;
}

}  // namespace merlon::audit::report
