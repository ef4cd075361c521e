#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <set>

#include "audit/certificate.h"
#include "audit/nginx/header_view.h"
#include "audit/nginx/rules.h"
#include "audit/nginx/tls_versions.h"
#include "base/ascii.h"

namespace merlon::audit::nginx {
namespace {

/// Whose setting is in force on a socket: protocols and curves are decided before the name is
/// known, by the default server; ciphers and Diffie-Hellman groups change with the name.
enum class Decides : std::uint8_t { kDefaultServer, kEachServer };

/// The directive called `name` that really applies to a TLS socket, with the sockets or servers it
/// decides for. In fragments, where the default server may not be in the files, each one counts.
struct Applied {
  const Directive* at = nullptr;
  const Scope* scope = nullptr;  ///< of the first server that it applies to
  const Scope* first = nullptr;  ///< of that socket's default server
  std::vector<std::string> routes;
  bool settled = false;   ///< the whole http block was read
  std::string_view list;  ///< of ciphers: the list itself
};

std::vector<Applied> applied(const Model& model, Name name,
                             Decides decides = Decides::kDefaultServer) {
  std::vector<Applied> out;
  // Servers that take the rest of their TLS settings from elsewhere are judged apart.
  const auto agree = [](const Applied& one, const Scope& scope, const Scope& first) {
    return one.scope->level_of("ssl_conf_command") == scope.level_of("ssl_conf_command") &&
           one.first->level_of("ssl_protocols") == first.level_of("ssl_protocols");
  };
  const auto add = [&](const Directive* at, const Scope& scope, const Scope& first,
                       std::string route) {
    auto found = std::ranges::find_if(
        out, [&](const Applied& one) { return one.at == at && agree(one, scope, first); });
    if (found == out.end()) {
      found = out.emplace(found);
      found->at = at;
      found->scope = &scope;
      found->first = &first;
    }
    found->settled = model.framed;
    found->routes.push_back(std::move(route));
  };
  if (!model.framed) {
    for (const Scope& scope : model.scopes) {
      if ((scope.context & (kHttp | kServer | kLocation)) == 0) continue;
      const Directive* own = scope.own(name);
      if (own != nullptr) add(own, scope, scope, model.route_of(scope));
    }
    return out;
  }
  for (const Socket& socket : model.sockets) {
    const Scope& first = *socket.servers.front().first->scope;
    const bool tls = std::ranges::any_of(
        socket.servers, [](const auto& pair) { return pair.second->ssl || pair.second->quic; });
    const Directive* at = first.effective(name);
    if (tls && at != nullptr) add(at, first, first, socket.name);
    if (!tls || decides == Decides::kDefaultServer) continue;
    for (const auto& [other, listen] : socket.servers) {
      const Directive* own = other->scope->effective(name);
      if (own != nullptr && own != at) add(own, *other->scope, first, other->label());
    }
  }
  return out;
}

void check_legacy(Inspection& in) {
  for (const Name name : {Name("ssl_protocols"), Name("ssl_conf_command")}) {
    for (const Applied& one : applied(in.model, name)) {
      const Legacy legacy = legacy_of(*one.scope);
      if (legacy.versions.empty() || !legacy.by->is(name.text)) continue;
      const std::vector<std::string> names(legacy.versions.begin(), legacy.versions.end());
      Finding& finding = in.report("TLS-01", Level::kHigh, *legacy.by,
                                   fmt::format("{} {} offered: expected TLSv1.2 and TLSv1.3 only",
                                               join_some(names), names.size() == 1 ? "is" : "are"));
      finding.affected = one.routes;
      if (!legacy.by->is("ssl_protocols")) continue;
      finding.fix = replace_statement(*legacy.by, "ssl_protocols TLSv1.2 TLSv1.3;");
    }
  }
}

/// Without ssl_protocols, what is offered depends on nginx's version.
void check_default_protocols(Inspection& in) {
  if (!in.model.framed) return;
  Finding* finding = nullptr;
  std::set<const Server*> mended;  // each socket's default server, which may be that of several
  for (const Socket& socket : in.model.sockets) {
    const auto& [server, listen] = socket.servers.front();
    if (!listen->ssl || listen->is_local()) continue;
    if (server->scope->effective("ssl_protocols") != nullptr) continue;
    if (server->scope->may_inherit_unseen()) continue;
    if (finding == nullptr) {
      finding = &in.report("TLS-01", Level::kMedium, server->at(),
                           "ssl_protocols is not set: nginx before 1.27.3 then offers TLSv1 and "
                           "TLSv1.1 too");
      finding->confidence = Confidence::kPossible;
    }
    finding->affected.push_back(socket.name);
    if (!mended.insert(server).second) continue;
    std::ranges::move(insert_first(server->at(), "ssl_protocols TLSv1.2 TLSv1.3;"),
                      std::back_inserter(finding->fix));
  }
}

void check_tls13(Inspection& in) {
  for (const Applied& one : applied(in.model, "ssl_protocols")) {
    if (offers(*one.at, "TLSv1.3")) continue;
    Finding& finding = in.report("TLS-02", Level::kLow, *one.at,
                                 "TLSv1.3 is not offered: expected \"TLSv1.2 TLSv1.3\"");
    finding.affected = one.routes;
    if (legacy_of(*one.scope).versions.empty()) {
      finding.fix = replace_statement(*one.at, statement(*one.at) + " TLSv1.3;");
    }
  }
}

std::vector<std::string> names_of(const std::vector<Suite>& suites, bool (*pick)(const Suite&)) {
  std::vector<std::string> out;
  for (const Suite& suite : suites) {
    if (pick(suite)) out.push_back(suite.name);
  }
  return out;
}

/// The ssl_conf_command of `scope` that replaces ssl_ciphers; nullptr when there is none.
const Directive* cipher_string(const Scope& scope) {
  const Directive* out = nullptr;
  for (const Directive* one : scope.effective_all("ssl_conf_command")) {
    if (ascii::iequals(one->arg(0), "CipherString")) out = one;
  }
  return out;
}

/// Cipher lists that apply, expanded; those that only TLS 1.3 would make use of are left out.
void for_cipher_lists(Inspection& in,
                      void (*judge)(Inspection&, const Applied&, const std::vector<Suite>&)) {
  std::vector<Applied> lists = applied(in.model, "ssl_ciphers", Decides::kEachServer);
  for (Applied& one : lists) one.list = one.at->arg(0);
  for (Applied& one : applied(in.model, "ssl_conf_command", Decides::kEachServer)) {
    one.at = cipher_string(*one.scope);
    if (one.at == nullptr) continue;
    one.list = one.at->arg(1);
    lists.push_back(one);
  }
  for (const Applied& one : lists) {
    const Directive* protocols = one.first->effective("ssl_protocols");
    const bool only_13 =
        protocols != nullptr && protocols->args.size() == 1 && offers(*protocols, "TLSv1.3");
    const bool replaced = one.at->is("ssl_ciphers") && cipher_string(*one.scope) != nullptr;
    if (only_13 || replaced || one.list.find('$') != std::string_view::npos) continue;
    bool valid = false;
    judge(in, one, expand_ciphers(std::string(one.list), valid));
  }
}

bool is_static_rsa(const Suite& s) {
  return !s.forward_secret && !s.anonymous && !s.null_cipher && !s.rc4 && !s.triple_des &&
         !s.export_grade;
}

void judge_forward_secrecy(Inspection& in, const Applied& one, const std::vector<Suite>& suites) {
  const std::vector<std::string> names = names_of(suites, is_static_rsa);
  if (names.empty()) return;
  Finding& finding =
      in.report("TLS-03", Level::kMedium, *one.at,
                fmt::format("{} of {} suites have no forward secrecy: expected ECDHE suites only",
                            names.size(), suites.size()));
  finding.evidence = join_some(names);
  finding.affected = one.routes;
}

void judge_weak(Inspection& in, const Applied& one, const std::vector<Suite>& suites) {
  const auto report = [&](Level level, std::string what, const std::vector<std::string>& names) {
    Finding& finding = in.report("TLS-04", level, *one.at,
                                 fmt::format("the list enables {}: expected ECDHE with AES-GCM or "
                                             "ChaCha20-Poly1305 only",
                                             what));
    finding.evidence = join_some(names);
    finding.affected = one.routes;
  };
  const bool no_level = one.list.find("@SECLEVEL=0") != std::string_view::npos;
  const auto plain = names_of(suites, [](const Suite& s) { return s.null_cipher; });
  if (!plain.empty()) return report(Level::kCritical, "suites without encryption", plain);
  const auto open = names_of(suites, [](const Suite& s) { return s.anonymous; });
  if (!open.empty() && no_level) {
    return report(Level::kCritical, "suites without authentication", open);
  }
  const auto broken =
      names_of(suites, [](const Suite& s) { return s.rc4 || s.triple_des || s.export_grade; });
  if (!broken.empty()) return report(Level::kHigh, "RC4, DES or export suites", broken);
  if (no_level) {
    return report(Level::kHigh, "security level 0, at which OpenSSL takes anything", {});
  }
  // From security level 1 on, OpenSSL's default, they are listed and never chosen.
  if (!open.empty()) {
    return report(Level::kMedium, "suites without authentication, which only OpenSSL's level stops",
                  open);
  }
  const auto cbc = names_of(suites, [](const Suite& s) { return s.cbc && !s.aead; });
  if (!cbc.empty()) report(Level::kLow, "CBC suites", cbc);
}

void judge_order(Inspection& in, const Applied& one, const std::vector<Suite>& suites) {
  const Directive* prefer = one.scope->effective("ssl_prefer_server_ciphers");
  if (prefer == nullptr || prefer->arg(0) != "off") return;
  const bool sound =
      std::ranges::all_of(suites, [](const Suite& s) { return s.aead && s.forward_secret; });
  if (sound) return;
  in.report("TLS-05", Level::kInfo, *prefer,
            "the client chooses among suites of which some are weak: switch the server's order on, "
            "or take the weak ones out");
}

void judge_aes128(Inspection& in, const Applied& one, const std::vector<Suite>& suites) {
  const auto names = names_of(
      suites, [](const Suite& s) { return s.aead && s.name.find("AES128") != std::string::npos; });
  if (names.empty()) return;
  in.report("TLS-19", Level::kInfo, *one.at,
            "the strict profile asks for 256-bit AEAD suites only, and AES-128 is offered")
      .evidence = join_some(names);
}

void check_forward_secrecy(Inspection& in) { for_cipher_lists(in, judge_forward_secrecy); }
void check_weak(Inspection& in) { for_cipher_lists(in, judge_weak); }
void check_order(Inspection& in) { for_cipher_lists(in, judge_order); }
void check_aes128(Inspection& in) {
  if (in.options.strict) for_cipher_lists(in, judge_aes128);
}

bool is_weak_curve(std::string_view curve) {
  constexpr std::array<std::string_view, 6> kWeak = {"secp160", "secp192", "prime192",
                                                     "secp112", "sect1",   "secp128"};
  return curve == "P-192" || std::ranges::any_of(kWeak, [&](std::string_view weak) {
           return ascii::iequals(curve.substr(0, weak.size()), weak);
         });
}

void check_curves(Inspection& in) {
  for (const Applied& one : applied(in.model, "ssl_ecdh_curve")) {
    std::string_view rest = one.at->arg(0);
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find(':'), rest.size());
      if (is_weak_curve(rest.substr(0, end))) {
        in.report("TLS-06", Level::kMedium, *one.at,
                  fmt::format("the curve {} is too weak: expected X25519:prime256v1",
                              rest.substr(0, end)));
        break;
      }
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  for (const Applied& one : applied(in.model, "ssl_dhparam", Decides::kEachServer)) {
    if (!in.on_disk) continue;
    std::string path(one.at->arg(0));
    if (!path.starts_with('/')) {
      const std::string& main = in.model.tree.files.front()->path;
      path.insert(0, main, 0, main.rfind('/') + 1);
    }
    const FileReader::Read got = in.files.read(path, path);
    const int bits = got.source == nullptr ? 0 : dh_bits(got.source->text);
    if (bits == 0 || bits >= 2048) continue;
    in.report("TLS-06", Level::kMedium, *one.at,
              fmt::format("the Diffie-Hellman prime has {} bits: expected 2048 or more, or no DHE",
                          bits));
  }
}

void check_tickets(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    const auto keys = scope.own_all("ssl_session_ticket_key");
    if (keys.empty()) continue;
    if (!scope.flag("ssl_session_tickets", true)) continue;
    if (keys.size() > 1) continue;  // several keys are a rotation
    in.report("TLS-10", Level::kMedium, *keys.front(),
              "one ticket key from a file: who gets it once reads all resumed sessions; rotate "
              "keys, or leave nginx to make them in memory");
  }
}

void check_stapling(Inspection& in) {
  for (const Applied& one : applied(in.model, "ssl_stapling")) {
    if (one.at->arg(0) != "on") continue;
    const Scope& where = *one.scope;
    const bool resolves = std::ranges::any_of(in.model.servers, [](const Server& server) {
      return server.scope->effective("resolver") != nullptr;
    });
    if (resolves || where.effective("resolver") != nullptr) continue;
    if (where.effective("ssl_stapling_file") != nullptr || where.may_inherit_unseen()) continue;
    in.report("TLS-11", Level::kInfo, *one.at,
              "stapling without a resolver: nginx cannot find the OCSP responder and staples "
              "nothing");
  }
}

void check_early_data(Inspection& in) {
  for (const Server& server : in.model.servers) {
    const Directive* early = server.scope->effective("ssl_early_data");
    if (early == nullptr || early->arg(0) != "on" || !server.has_tls()) continue;
    const bool passes = std::ranges::any_of(server.all_locations, [](const Location* location) {
      const Directive* header = forwarded_header(*location->scope, "Early-Data");
      const bool tells = header != nullptr && header->arg(1) == "$ssl_early_data";
      return pass_of(*location->scope) != nullptr && !tells;
    });
    if (!passes) continue;
    in.report("TLS-12", Level::kMedium, *early,
              "early data can be replayed, and the upstream is not told of it: expected "
              "\"proxy_set_header Early-Data $ssl_early_data\" and 425 answers, or off")
        .affected.push_back(server.label());
  }
}

std::set<std::string_view> versions(const Directive& protocols) {
  std::set<std::string_view> out;
  for (const Word& word : protocols.args) out.insert(word.text);
  return out;
}

/// True when what a default server without ssl_protocols offers may be the same as `protocols`.
bool may_be_default(const Directive& protocols, const Scope& fallback) {
  const std::set<std::string_view> since_1_27_3 = {"TLSv1.2", "TLSv1.3"};
  return fallback.may_inherit_unseen() || versions(protocols) == since_1_27_3;
}

void check_ignored_protocols(Inspection& in) {
  for (const Socket& socket : in.model.sockets) {
    const Server& fallback = *socket.servers.front().first;
    for (std::size_t i = 1; i < socket.servers.size(); ++i) {
      const Server& server = *socket.servers[i].first;
      const Directive* own = server.scope->own("ssl_protocols");
      const bool tls = socket.servers[i].second->ssl || socket.servers[i].second->quic;
      if (own == nullptr || !tls || &server == &fallback) continue;
      const Directive* rules = fallback.scope->effective("ssl_protocols");
      if (rules == nullptr ? may_be_default(*own, *fallback.scope)
                           : versions(*own) == versions(*rules)) {
        continue;
      }
      Finding& finding = in.report(
          "TLS-18", Level::kMedium, *own,
          fmt::format(
              "these versions are ignored: on {} nginx takes those of the default server {}",
              socket.name, fallback.label()));
      finding.trail.push_back(rules != nullptr
                                  ? TrailStep{rules->mark(), "these are in force"}
                                  : TrailStep{fallback.at().mark(), "nginx's default is in force"});
      finding.affected.push_back(server.label());
    }
  }
}

constexpr RuleEntry kRules[] = {
    {"TLS-01", check_legacy},
    {"TLS-01", check_default_protocols},
    {"TLS-02", check_tls13},
    {"TLS-03", check_forward_secrecy},
    {"TLS-04", check_weak},
    {"TLS-05", check_order},
    {"TLS-06", check_curves},
    {"TLS-10", check_tickets},
    {"TLS-11", check_stapling},
    {"TLS-12", check_early_data},
    {"TLS-18", check_ignored_protocols},
    {"TLS-19", check_aes128},
};

}  // namespace

std::span<const RuleEntry> tls_rules() { return kRules; }

}  // namespace merlon::audit::nginx
