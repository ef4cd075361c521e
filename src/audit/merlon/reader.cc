#include "audit/merlon/reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "audit/certificate.h"
#include "audit/certificate_verdict.h"
#include "audit/merlon/measures.h"
#include "audit/rule_run.h"
#include "base/units.h"
#include "config/catalogue.h"
#include "gateway/load.h"
#include "gateway/resource_metadata.h"
#include "tls/server_context.h"

namespace merlon::audit::own {
namespace {

using gateway::LoadResult;
using gateway::Plan;
using gateway::Route;

constexpr std::size_t kCertificateBytesMax = 256UL * 1024;

WallTime today_of(const Options& options) {
  if (options.now == 0) return SystemClock().wall_now();
  return WallTime{std::chrono::seconds{options.now}};
}

class OwnReader {
 public:
  OwnReader(const std::shared_ptr<const Source>& source, const LoadResult& loaded, WallTime now,
            AuditResult& out)
      : source_(source), loaded_(loaded), now_(now), out_(out) {}

  void run() {
    const std::size_t gaps = out_.gaps.size();
    note_rules();
    if (loaded_.tree != nullptr) {
      for (const auto& part : loaded_.tree->sources()) add_source(part);
      out_.counts.directives += count_keys(loaded_.tree->root());
    }
    for (const Diagnostic& said : loaded_.diagnostics.all()) add_said(said);
    // Bad files of a rule are among the diagnostics, with it.
    for (const Diagnostic& file : loaded_.bad_files) {
      if (config::find_rule(file.rule) == nullptr) add_unread(file);
    }
    add_waivers();
    add_certificates();
    if (loaded_.plan == nullptr) {
      add_not_checked(out_, "CFG-01",
                      "the gateway would not start with this: its routes and measures are shown "
                      "once the errors are mended");
      if (!all_read() && out_.gaps.size() == gaps) {
        out_.gaps.push_back({.at = {},
                             .path = source_->path,
                             .what = "what stands around its errors was not judged: mend those "
                                     "first"});
      }
      return;
    }
    add_routes();
    add_measures(loaded_, out_);
  }

 private:
  void note_rules() {
    std::vector<std::string_view> judged;
    for (const config::Rule& rule : config::rules()) {
      if (!rule.merlon_trigger.empty()) judged.push_back(rule.id);
    }
    note_judged(out_, judged);
  }

  void add_source(const std::shared_ptr<const Source>& source) {
    out_.sources.push_back(source);
    out_.own_files.insert(source->path);
    ++out_.counts.files;
    out_.counts.lines += static_cast<std::uint64_t>(std::ranges::count(source->text, '\n'));
  }

  // NOLINTNEXTLINE(misc-no-recursion): as deep as the tree, whose depth is bounded.
  static std::uint64_t count_keys(const config::Node& node) {
    std::uint64_t count = 0;
    for (const config::Member& member : node.members()) count += 1 + count_keys(member.value);
    for (const config::Node& item : node.items()) count += count_keys(item);
    return count;
  }

  /// A rule that is violated is a finding, waived when the loader only noted it. An error of
  /// another kind keeps the configuration from being loaded at all.
  void add_said(const Diagnostic& said) {
    const config::Rule* rule = config::find_rule(said.rule);
    if (rule == nullptr) {
      // Warnings are of dates, which the waivers and certificates of the report show.
      if (said.severity == Severity::kError) add_unread(said);
      return;
    }
    const std::optional<Level> level = level_of(said, *rule);
    if (!level.has_value()) return;
    Finding finding;
    finding.rule = rule->id;
    finding.level = *level;
    finding.at = said.at;
    finding.message = said.message;
    finding.remediation = rule->remediation;
    if (said.severity == Severity::kNote) waive(said, finding);
    out_.findings.push_back(std::move(finding));
  }

  /// Something that keeps the configuration, or what needs a file, from being loaded.
  void add_unread(const Diagnostic& said) {
    out_.gaps.push_back({.at = said.at, .path = source_->path, .what = said.message});
    Finding finding;
    finding.rule = "CFG-01";
    finding.level = Level::kHigh;
    finding.at = said.at.known() ? said.at : Mark{.source = source_, .line = 1, .column = 1};
    finding.message = said.message;
    finding.remediation = said.help;
    out_.findings.push_back(std::move(finding));
  }

  /// False where an item was refused as it was read: what else there is to say of it is not known.
  [[nodiscard]] bool all_read() const {
    if (loaded_.tree == nullptr) return false;
    const config::Node& root = loaded_.tree->root();
    const gateway::Config& config = loaded_.config;
    const auto holds = [&](const char* key, std::size_t read) {
      const config::Node* part = root.find(key);
      return part == nullptr || part->items().size() + part->members().size() == read;
    };
    return holds("listeners", config.listeners.size()) && holds("routes", config.routes.size()) &&
           holds("upstreams", config.upstreams.size()) && holds("identity", config.identity.size());
  }

  /// How bad it is that a rule is violated. A certificate that is still valid is judged by the
  /// share of its life that is left, as those of other servers are; nullopt when that is enough.
  [[nodiscard]] std::optional<Level> level_of(const Diagnostic& said,
                                              const config::Rule& rule) const {
    const auto usual = static_cast<Level>(rule.severity);
    if (rule.id != "CRT-01" || said.severity != Severity::kWarning) return usual;
    for (const config::Located<config::FilePath>* file : certificate_files()) {
      if (file->at.line != said.at.line || file->at.column != said.at.column) continue;
      std::optional<Level> worst;
      for (const Certificate& one : chain_of(*file)) {
        const std::optional<Level> level = level_of_dates(one);
        if (level.has_value() && (!worst.has_value() || *level > *worst)) worst = level;
      }
      return worst;
    }
    return usual;
  }

  /// The files of certificates that the gateway shows, to clients, upstreams and Redis.
  [[nodiscard]] std::vector<const config::Located<config::FilePath>*> certificate_files() const {
    std::vector<const config::Located<config::FilePath>*> out;
    for (const gateway::ListenerConfig& listener : loaded_.config.listeners) {
      if (!listener.tls.has_value()) continue;
      for (const tls::CertificateFiles& files : listener.tls->certificates)
        out.push_back(&files.cert);
    }
    const auto add = [&](const std::optional<tls::UpstreamTls>& tls) {
      if (tls.has_value() && tls->cert.has_value()) out.push_back(&*tls->cert);
    };
    for (const auto& [name, upstream] : loaded_.config.upstreams) add(upstream.tls);
    if (loaded_.config.shared_state.has_value()) add(loaded_.config.shared_state->redis.tls);
    return out;
  }

  [[nodiscard]] std::optional<Level> level_of_dates(const Certificate& certificate) const {
    const auto seconds =
        std::chrono::duration_cast<std::chrono::seconds>(now_.time_since_epoch()).count();
    for (const CertificateVerdict& verdict : judge_certificate({}, {&certificate, 1}, seconds)) {
      if (verdict.rule == "CRT-01") return verdict.level;
    }
    return std::nullopt;
  }

  static std::vector<Certificate> chain_of(const config::Located<config::FilePath>& file) {
    const auto text = io::make_local_broker()->read_file(file->path, kCertificateBytesMax);
    return text.has_value() ? parse_certificates(*text) : std::vector<Certificate>{};
  }

  /// Takes the reason of the waiver that the note says is in use. A start goes on with one that has
  /// ended; what it waived counts all the same, as everywhere else.
  void waive(const Diagnostic& said, Finding& finding) const {
    const auto used = std::ranges::find_if(loaded_.waivers, [&](const config::Waiver& waiver) {
      return waiver.rule == said.rule && config::where_waived(waiver.on) == said.help;
    });
    if (used == loaded_.waivers.end()) return;
    if (!used->expired(today())) {
      finding.waived = used->reason;
      return;
    }
    finding.trail.push_back(
        {used->at, fmt::format("this waiver ended on {}", config::format_date(used->expires))});
  }

  [[nodiscard]] config::Date today() const { return std::chrono::floor<std::chrono::days>(now_); }

  void add_waivers() {
    for (const config::Waiver& from : loaded_.waivers) {
      Waiver waiver;
      waiver.at = from.at;
      waiver.rule = from.rule;
      const auto left = (from.expires - today()).count();
      waiver.reason = fmt::format(
          "{} (on {}; {}; {})", from.reason, from.on,
          left < 0 ? "expired" : fmt::format("{} days left", left),
          from.counted ? "uses are counted" : "of the configuration, its uses are not counted");
      waiver.owner = from.owner;
      waiver.expires = config::format_date(from.expires);
      waiver.expired = from.expired(today());
      if (waiver.expired) waiver.problem = fmt::format("it expired on {}", waiver.expires);
      waiver.used = from.used;
      out_.waivers.push_back(std::move(waiver));
    }
  }

  void add_certificates() {
    std::set<std::string> seen;
    for (const gateway::ListenerConfig& listener : loaded_.config.listeners) {
      if (!listener.tls.has_value()) continue;
      for (const tls::CertificateFiles& files : listener.tls->certificates) {
        if (!seen.insert(files.cert->path).second) continue;
        const auto chain = chain_of(files.cert);
        if (chain.empty()) continue;  // the loader has said so
        const Certificate& leaf = chain.front();
        out_.certificates.push_back({.at = files.at,
                                     .path = files.cert->written,
                                     .subject = leaf.subject,
                                     .issuer = leaf.issuer,
                                     .names = leaf.names,
                                     .key = fmt::format("{} {}", leaf.key_type, leaf.key_bits),
                                     .not_before = leaf.not_before,
                                     .not_after = leaf.not_after});
      }
    }
  }

  /// Those of the configuration, and those that the gateway adds to them.
  void add_routes() {
    gateway::Config whole = loaded_.config;
    Diagnostics said_already;
    gateway::add_resource_metadata(whole, said_already);
    for (const auto& route : loaded_.plan->routes) add_route(*route, whole.routes[route->index]);
  }

  void add_route(const Route& route, const gateway::RouteConfig& config) {
    ExposureRow row;
    row.at = route.at;
    for (const auto& host : config.match.hosts) row.host += (row.host.empty() ? "" : " ") + *host;
    row.route =
        fmt::format("{} {} ({})", fmt::join(route.methods, ","), *config.match.path, route.name);
    row.auth = auth_of(config);
    row.limit = limits_of(route, config);
    if (route.upstream != nullptr) {
      const bool secure = route.upstream->tls != nullptr || route.upstream->closed;
      row.upstream = fmt::format("{}://{}", secure ? "https" : "http", route.upstream->name);
      row.upstream_tls = secure ? "verified" : "-";
      if (route.upstream->closed) row.upstream_tls = "closed, its files cannot be used";
    } else {
      row.upstream = fmt::format("return {}", route.respond->status);
      row.upstream_tls = "";
    }
    add_at_listeners(row);
  }

  /// "jwt staff (DPoP where the token is bound); scopes orders.read; claims tenant in t1, t2".
  [[nodiscard]] std::string auth_of(const gateway::RouteConfig& config) const {
    const policy::AuthConfig& auth = config.auth;
    std::vector<std::string> parts;
    if (auth.jwt.has_value()) parts.push_back(provider_of("jwt", **auth.jwt));
    if (auth.introspect.has_value())
      parts.push_back(provider_of("introspection", **auth.introspect));
    if (auth.api_key.has_value()) parts.push_back(provider_of("api key", **auth.api_key));
    if (auth.client_cert.has_value()) parts.push_back(certificate_of(*auth.client_cert));
    if (parts.empty()) return "public";
    if (!auth.scopes.empty()) {
      std::string scopes = "scopes";
      for (const auto& scope : auth.scopes) scopes += " " + *scope;
      parts.push_back(std::move(scopes));
    }
    for (const auto& [name, values] : auth.claims)
      parts.push_back(fmt::format("claim {} {}", name, one_of(values)));
    return fmt::format("{}", fmt::join(parts, "; "));
  }

  static std::string certificate_of(const policy::ClientCertConfig& asked) {
    std::string text = "client certificate";
    if (!asked.names.empty()) text += " " + one_of(asked.names);
    if (!asked.issuers.empty()) text += " issued by " + one_of(asked.issuers);
    return text;
  }

  static std::string one_of(const std::vector<config::Located<std::string>>& values) {
    std::string text;
    for (const auto& value : values) text += (text.empty() ? "" : " or ") + *value;
    return text;
  }

  /// An entry of `identity` in the words of the route that names it, with what it asks of tokens.
  [[nodiscard]] std::string provider_of(std::string_view kind, const std::string& name) const {
    const auto found = loaded_.config.identity.find(name);
    if (found == loaded_.config.identity.end()) return fmt::format("{} {}", kind, name);
    const identity::ProviderConfig& provider = found->second;
    if (provider.api_keys.has_value())
      return fmt::format("{} {} (in {})", kind, name, *provider.api_keys->header);
    const bool required = provider.dpop.has_value() && provider.dpop->required;
    const bool nonce = provider.dpop.has_value() && provider.dpop->nonce;
    return fmt::format("{} {} (DPoP {}{})", kind, name,
                       required ? "required" : "where the token is bound",
                       nonce ? ", with a nonce" : "");
  }

  /// "10/s per client, burst 20; quota 100000/day per identity; 20 at a time per client".
  static std::string limits_of(const Route& route, const gateway::RouteConfig& config) {
    std::vector<std::string> parts;
    const auto add = [&](std::string_view key, std::string text) {
      const bool observes = std::ranges::any_of(route.policies, [&](const auto& policy) {
        return policy->name() == key && policy->observed_by().has_value();
      });
      parts.push_back(text + (observes ? ", only observed" : ""));
    };
    for (const policy::RateLimitConfig& limit : policy::setting<policy::RateLimits>(config))
      add(policy::RateLimits::kKey, rate_of(limit));
    for (const policy::QuotaConfig& quota : policy::setting<policy::Quotas>(config))
      add(policy::Quotas::kKey, fmt::format("quota {} per {}", format_rate(*quota.limit),
                                            policy::limit_per_name(*quota.per)));
    for (const policy::ConcurrencyConfig& places : policy::setting<policy::Concurrencies>(config))
      add(policy::Concurrencies::kKey,
          fmt::format("{} at a time per {}", *places.limit, policy::limit_per_name(*places.per)));
    return parts.empty() ? "-" : fmt::format("{}", fmt::join(parts, "; "));
  }

  static std::string rate_of(const policy::RateLimitConfig& limit) {
    std::string text =
        fmt::format("{} per {}", format_rate(*limit.rate), policy::limit_per_name(*limit.per));
    if (*limit.burst > 1) text += fmt::format(", burst {}", *limit.burst);
    if (limit.delay) text += ", delayed";
    if (*limit.shared) text += ", over all nodes";
    for (const policy::LimitClassConfig& one : limit.classes) text += ", " + class_of(one);
    return text;
  }

  /// "class partners (198.51.100.0/24 or 2001:db8::/32 and svc) 20/s, burst 5".
  static std::string class_of(const policy::LimitClassConfig& one) {
    std::vector<std::string> networks;
    networks.reserve(one.networks.size());
    for (const auto& network : one.networks) networks.push_back(network->to_string());
    std::string who = fmt::format("{}", fmt::join(networks, " or "));
    if (!one.networks.empty() && !one.identities.empty()) who += " and ";
    std::string text = fmt::format("class {} ({}) {}", one.name, who + one_of(one.identities),
                                   format_rate(*one.rate));
    if (*one.burst > 1) text += fmt::format(", burst {}", *one.burst);
    return text;
  }

  /// The position in the configuration of a listener of the plan, which has those of
  /// `redirect_from` besides.
  [[nodiscard]] std::size_t asked_by(const gateway::Listener& listener) const {
    const auto found =
        std::ranges::find(loaded_.config.listeners, listener.name, &gateway::ListenerConfig::name);
    return static_cast<std::size_t>(found - loaded_.config.listeners.begin());
  }

  static std::string certificates_asked(const gateway::ListenerConfig& listener) {
    if (!listener.tls.has_value()) return {};
    const auto& all = listener.tls->client_auth;
    const bool some = std::ranges::any_of(
        listener.tls->certificates,
        [](const tls::CertificateFiles& files) { return files.client_auth.has_value(); });
    if (some) return ", client certificates by name";
    if (!all.has_value()) return {};
    return all->required ? ", client certificate required" : ", client certificate optional";
  }

  void add_at_listeners(ExposureRow row) {
    for (const gateway::Listener& listener : loaded_.plan->listeners) {
      if (!listener.serve.api) continue;
      row.listener = fmt::format("{} ({})", listener.address.to_string(), listener.name);
      row.tls = "-";
      if (listener.tls != nullptr) {
        row.tls = listener.tls->settings().min_version == tls::MinVersion::kTls13
                      ? "TLSv1.3"
                      : "TLSv1.2 TLSv1.3";
        row.tls += certificates_asked(loaded_.config.listeners[asked_by(listener)]);
      }
      out_.exposure.push_back(row);
    }
  }

  const std::shared_ptr<const Source>& source_;
  const LoadResult& loaded_;
  const WallTime now_;
  AuditResult& out_;
};

}  // namespace

void audit_file(const std::shared_ptr<const Source>& source, const Options& options, bool on_disk,
                AuditResult& out) {
  const auto broker = io::make_local_broker();
  const WallTime now = today_of(options);
  // As a start would read it: the posture of what runs is worth seeing when a date has passed, too.
  const LoadResult loaded =
      on_disk
          ? gateway::load_plan(source->path, *broker, now, gateway::kAtStart)
          : gateway::load_plan_text(source->path, source->text, *broker, now, gateway::kAtStart);
  OwnReader(source, loaded, now, out).run();
}

}  // namespace merlon::audit::own
