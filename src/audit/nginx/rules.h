#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "audit/audit.h"
#include "audit/certificate.h"
#include "audit/finding.h"
#include "audit/nginx/files.h"
#include "audit/nginx/model.h"
#include "audit/nginx/rewrite_phase.h"
#include "audit/nginx/variables.h"
#include "audit/rule_run.h"

/// The rules for nginx. One rule is one small function in the file of its family; rule_table.cc
/// lists them all.
namespace merlon::audit::nginx {

/// What a rule sees and where it reports to.
struct Inspection {
  const Model& model;
  const Variables& variables;
  const Options& options;
  FileReader& files;  ///< for certificates, keys and password files named by the configuration
  AuditResult& out;
  std::int64_t now = 0;  ///< seconds since 1970 UTC
  bool on_disk = false;  ///< the configuration was read from this host's files, not from a dump
  /// Sockets of which was asked whether their server turns all away: that looks at every location.
  mutable std::map<const Listen*, bool> turned_away = {};

  /// Adds a finding at `at`; the includes that brought the file in become its trail.
  Finding& report(std::string_view rule, Level level, const Directive& at, std::string message);
  Finding& report(std::string_view rule, Level level, const Directive& at, const Word& word,
                  std::string message);
  /// Says once per rule why it was not judged.
  void not_checked(std::string_view rule, std::string_view why);
};

using RuleEntry = Rule<Inspection>;

[[nodiscard]] std::span<const RuleEntry> header_rules();
[[nodiscard]] std::span<const RuleEntry> content_policy_rules();
[[nodiscard]] std::span<const RuleEntry> method_rules();
[[nodiscard]] std::span<const RuleEntry> file_rules();
[[nodiscard]] std::span<const RuleEntry> exposure_rules();
[[nodiscard]] std::span<const RuleEntry> tls_rules();
[[nodiscard]] std::span<const RuleEntry> cleartext_rules();
[[nodiscard]] std::span<const RuleEntry> client_certificate_rules();
[[nodiscard]] std::span<const RuleEntry> certificate_rules();
[[nodiscard]] std::span<const RuleEntry> cors_rules();
[[nodiscard]] std::span<const RuleEntry> limit_rules();
[[nodiscard]] std::span<const RuleEntry> path_rules();
[[nodiscard]] std::span<const RuleEntry> order_rules();
[[nodiscard]] std::span<const RuleEntry> belief_rules();
[[nodiscard]] std::span<const RuleEntry> stream_rules();
[[nodiscard]] std::span<const RuleEntry> injection_rules();
[[nodiscard]] std::span<const RuleEntry> forwarding_rules();
[[nodiscard]] std::span<const RuleEntry> upstream_rules();
[[nodiscard]] std::span<const RuleEntry> access_rules();
[[nodiscard]] std::span<const RuleEntry> identity_rules();
[[nodiscard]] std::span<const RuleEntry> logging_rules();
[[nodiscard]] std::span<const RuleEntry> system_rules();
[[nodiscard]] std::span<const RuleEntry> reach_rules();
[[nodiscard]] std::span<const RuleEntry> secret_rules();
[[nodiscard]] std::span<const RuleEntry> config_rules();
[[nodiscard]] std::span<const RuleEntry> refused_rules();

/// Runs every rule. Options.only_rules is applied to what comes out.
void run_rules(Inspection& inspection);
/// Ids of all rules for nginx, sorted.
[[nodiscard]] std::vector<std::string_view> rule_ids();

// Helpers that several families share.

/// Every scope of http in which a request can end: servers, locations, their ifs, and limit_except.
[[nodiscard]] std::vector<const Scope*> request_scopes(const Model& model);
/// True when clients get nothing from the server but redirects, refusals, ACME challenges and texts
/// that stand in the configuration itself, over TLS and in clear.
[[nodiscard]] bool only_redirects(const Server& server);
/// The same of what comes in clear to this socket of the scope's server; or, of a location, true
/// when such a request is redirected or refused before anything else.
[[nodiscard]] bool redirects_cleartext(const Inspection& inspection, const Scope& scope,
                                       const Listen& listen);
/// True when an `if` of the scope, or of its server, refuses whoever shows neither a client
/// certificate nor a secret and comes from an address that is not listed. `known` adds what else
/// the rule knows of the request.
[[nodiscard]] bool refused_by_if(const Inspection& inspection, const Scope& scope,
                                 const Request& known = {});
/// The status of a `return`. "return URL" is 302.
[[nodiscard]] unsigned status_of(const Directive& directive);
/// `return` with this status; 0 when the scope has no unconditional one.
[[nodiscard]] unsigned return_status(const Scope& scope);
/// True unless it is sure that no one from elsewhere, without a secret, gets into this `if`.
[[nodiscard]] bool strangers_may_enter(const Inspection& inspection, const Scope& block);
/// The auth_basic by which the scope asks strangers for a password; nullptr when none does. Without
/// a file of passwords nginx asks nobody, nor where the name of the realm comes out as "off".
[[nodiscard]] const Directive* asked_password(const Inspection& inspection, const Scope& scope);
/// True when variables make "off" of the name of the realm for someone from elsewhere.
[[nodiscard]] bool is_switched_off(const Inspection& inspection, const Scope& scope,
                                   const Directive& auth_basic);
/// The variable by which a client makes "off" of it, such as "$http_x_skip"; "" when none does.
[[nodiscard]] std::string switch_of_client(const Inspection& inspection, const Scope& scope,
                                           const Directive& auth_basic);
/// True when no client gets past the question for a certificate: nginx asks in TLS only.
[[nodiscard]] bool asks_for_certificate(const Inspection& inspection, const Scope& scope);
/// True when the scope asks who the client is: by auth_basic, auth_request, auth_jwt, Lua, or a
/// client certificate.
[[nodiscard]] bool has_authentication(const Inspection& inspection, const Scope& scope);
/// True when a list of addresses keeps out whoever is not on it.
[[nodiscard]] bool has_network_acl(const Scope& scope);
/// True when something in force asks who the client is, or where it comes from.
[[nodiscard]] bool guards(const Inspection& inspection, const Scope& scope);
/// A server that answers to any Host: the default one of a socket, or one with a wildcard name.
[[nodiscard]] bool accepts_any_host(const Model& model, const Server& server);
/// True when Lua decides about the requests of a server, in any of its scopes or around them: it
/// may redirect or refuse what the directives let through.
[[nodiscard]] bool scripts_decide(const Server& server);
/// True when Lua or njs edits the response header of a server, in any of its scopes.
[[nodiscard]] bool scripts_edit_header(const Server& server);
/// True when no outside client gets an answer but a refusal.
[[nodiscard]] bool is_denied_to_all(const Scope& scope);
/// The folder that a `root` or `alias` names, with the variables filled in that `set` gives a
/// constant; those that a request decides are left in it.
[[nodiscard]] std::string named_folder(const Inspection& inspection, const Directive& root);
/// True when a client gets `file` from the folder of this `root` or `alias`.
[[nodiscard]] bool serves_file(const Inspection& inspection, const Directive& root,
                               std::string_view file);
/// The statement in one line, without its semicolon: nginx reads the same words from it.
[[nodiscard]] std::string statement(const Directive& directive);
/// The line that a directive starts on.
[[nodiscard]] std::string_view first_line_of(const Directive& directive);
/// True when `directive` stands in a file of its own that only its owner may read.
[[nodiscard]] bool is_kept_apart(const Inspection& in, const Directive& directive);

/// The text of a file that a directive names, when it lies in the folders under audit; `keep` owns
/// it.
[[nodiscard]] std::string_view named_file(Inspection& in, std::string_view name,
                                          FileReader::Read& keep);
/// An edit that replaces `directive` by `text` at its indentation; empty when its lines hold
/// anything else.
[[nodiscard]] std::vector<Edit> replace_statement(const Directive& directive,
                                                  std::string_view text);
[[nodiscard]] std::vector<Edit> remove_statement(const Directive& directive);
/// An edit that adds a statement as the first of a block; empty when the block opens and closes on
/// one line.
[[nodiscard]] std::vector<Edit> insert_first(const Directive& block, std::string_view text);

}  // namespace merlon::audit::nginx
