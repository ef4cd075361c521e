#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "audit/certificate.h"
#include "audit/nginx/rules.h"

// TLS that ends in servers of stream: the same mistakes as in http, where no Host tells servers
// apart.
namespace merlon::audit::nginx {
namespace {

/// Directives called `name` that are in force in a TLS server of stream, with those servers.
std::map<const Directive*, std::vector<std::string>> in_force(const Model& model, Name name) {
  std::map<const Directive*, std::vector<std::string>> out;
  for (const Scope& scope : model.scopes) {
    if (scope.context != kStreamServer) continue;
    const Directive* tls = nullptr;
    for (const Directive* listen : scope.own_all("listen")) {
      const bool ssl =
          std::ranges::any_of(listen->args, [](const Word& word) { return word.text == "ssl"; });
      if (ssl) tls = listen;
    }
    const Directive* at = scope.effective(name);
    if (tls != nullptr && at != nullptr)
      out[at].emplace_back(fmt::format("stream {}", tls->arg(0)));
  }
  return out;
}

void check_versions(Inspection& in) {
  for (auto& [at, routes] : in_force(in.model, "ssl_protocols")) {
    std::vector<std::string> legacy;
    bool newest = false;
    for (const Word& word : at->args) {
      newest = newest || word.text == "TLSv1.3";
      if (word.text != "TLSv1.2" && word.text != "TLSv1.3") legacy.emplace_back(word.text);
    }
    if (!legacy.empty()) {
      Finding& finding =
          in.report("TLS-01", Level::kHigh, *at,
                    fmt::format("{} {} offered: expected TLSv1.2 and TLSv1.3 only",
                                join_some(legacy), legacy.size() == 1 ? "is" : "are"));
      finding.affected = routes;
      finding.fix = replace_statement(*at, "ssl_protocols TLSv1.2 TLSv1.3;");
    }
    if (newest) continue;
    in.report("TLS-02", Level::kLow, *at, "TLSv1.3 is not offered: expected \"TLSv1.2 TLSv1.3\"")
        .affected = std::move(routes);
  }
}

void check_ciphers(Inspection& in) {
  for (auto& [at, routes] : in_force(in.model, "ssl_ciphers")) {
    bool valid = false;
    std::vector<std::string> open;
    std::vector<std::string> broken;
    std::vector<std::string> static_key;
    for (const Suite& suite : expand_ciphers(std::string(at->arg(0)), valid)) {
      if (suite.null_cipher || suite.anonymous) {
        open.push_back(suite.name);
      } else if (suite.rc4 || suite.triple_des || suite.export_grade) {
        broken.push_back(suite.name);
      } else if (!suite.forward_secret) {
        static_key.push_back(suite.name);
      }
    }
    const auto& worst = open.empty() ? broken : open;
    if (!worst.empty()) {
      Finding& finding = in.report(
          "TLS-04", Level::kHigh, *at,
          fmt::format("the list enables {}: expected ECDHE with AES-GCM or ChaCha20-Poly1305 only",
                      open.empty() ? "RC4, DES or export suites"
                                   : "suites without encryption or authentication"));
      finding.evidence = join_some(worst);
      finding.affected = routes;
    }
    if (static_key.empty()) continue;
    Finding& finding =
        in.report("TLS-03", Level::kMedium, *at,
                  fmt::format("{} suites have no forward secrecy: expected ECDHE suites only",
                              static_key.size()));
    finding.evidence = join_some(static_key);
    finding.affected = std::move(routes);
  }
}

constexpr RuleEntry kRules[] = {{"TLS-01", check_versions},
                                {"TLS-02", nullptr},
                                {"TLS-03", check_ciphers},
                                {"TLS-04", nullptr}};

}  // namespace

std::span<const RuleEntry> stream_rules() { return kRules; }

}  // namespace merlon::audit::nginx
