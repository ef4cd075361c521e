#include "cli/token.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <future>
#include <memory>
#include <string>

#include "base/escape.h"
#include "base/print_error.h"
#include "cli/diagnostics_output.h"
#include "cli/load_or_tell.h"
#include "identity/agent.h"
#include "identity/date.h"
#include "identity/provider.h"

namespace merlon::cli {
namespace {

constexpr std::size_t kShownBytesMax = 200;

struct Options {
  std::string config;
  std::string identity;
};

/// Standard input without the line end; what is longer than any token is cut where it is too long.
std::string read_token() {
  std::string text(identity::kTokenBytesMax + 2, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t n = ::read(STDIN_FILENO, text.data() + size, text.size() - size);
    if (n <= 0) break;
    size += static_cast<std::size_t>(n);
  }
  text.resize(size);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text;
}

std::string shown(std::string_view text) {
  std::string out = "\"";
  append_json_escaped(out, text, kShownBytesMax);
  return out + "\"";
}

void put(std::string& out, std::string_view name, std::string_view value) {
  fmt::format_to(std::back_inserter(out), "  {:<12} {}\n", name, value);
}

void put_date(std::string& out, std::string_view name, identity::JsonValue value,
              identity::TokenTime now) {
  const auto seconds = value.integer();
  constexpr identity::TokenTime kShowable = identity::TokenTime{1} << 40U;
  if (!seconds.has_value() || *seconds < 0 || *seconds > kShowable) {
    put(out, name, "not a whole number of seconds");
    return;
  }
  put(out, name,
      fmt::format("{} ({} {} s)", identity::format_date(*seconds), *seconds >= now ? "in" : "ago",
                  *seconds >= now ? *seconds - now : now - *seconds));
}

/// Claims that say how a token is judged. Others may be personal: only their names are shown.
void put_claims(std::string& out, identity::JsonValue claims, identity::TokenTime now) {
  std::string others;
  for (identity::JsonValue one = claims.first(); one; one = one.next()) {
    const std::string_view name = one.name();
    if (name == "exp" || name == "nbf" || name == "iat") {
      put_date(out, name, one, now);
    } else if ((name == "iss" || name == "aud" || name == "scope") &&
               one.is(identity::JsonKind::kString)) {
      put(out, name, shown(one.text()));
    } else if (name == "aud") {
      for (identity::JsonValue item = one.first(); item; item = item.next()) {
        put(out, name, shown(item.text()));
      }
    } else {
      others += (others.empty() ? "" : ", ") + shown(name);
    }
  }
  if (!others.empty()) put(out, "also has", others);
}

/// What the token says of itself, proven or not.
std::string describe(identity::TokenReader& reader, std::string_view token,
                     identity::TokenTime now) {
  std::string out = "What the token says, unverified:\n";
  const auto head = reader.read_head(token);
  if (!head) {
    put(out, "unreadable", head.error().what);
    return out;
  }
  put(out, "alg", identity::name_of(head->algorithm));
  if (head->has_kid) put(out, "kid", shown(head->kid));
  if (!head->type.empty()) put(out, "typ", shown(head->type));
  const auto claims = reader.read_claims(*head);
  if (!claims) {
    put(out, "unreadable", claims.error().what);
    return out;
  }
  put_claims(out, *claims, now);
  return out;
}

/// The provider to judge by: the named one, or the only one that takes tokens, whose name `name`
/// then is. Null after the reason is on standard error.
const identity::ProviderConfig* choose(const gateway::Config& config, std::string& name) {
  if (!name.empty()) {
    const auto named = config.identity.find(name);
    const bool known = named != config.identity.end();
    if (known && !named->second.api_keys.has_value()) return &named->second;
    print_error("merlon: --identity: {} {}\n", name,
                known ? "takes API keys, not tokens" : "is not a name under `identity`");
    return nullptr;
  }
  const identity::ProviderConfig* found = nullptr;
  for (const auto& [key, provider] : config.identity) {
    if (provider.api_keys.has_value()) continue;
    if (found != nullptr) {
      print_error(
          "merlon: several entries under `identity` take tokens: choose one with --identity\n");
      return nullptr;
    }
    found = &provider;
    name = key;
  }
  if (found == nullptr)
    print_error("merlon: no entry under `identity` of the configuration takes tokens\n");
  return found;
}

/// Does the errand while this thread waits, a little longer than a request would.
void do_errand(identity::Agent& agent, const std::shared_ptr<identity::Errand>& errand) {
  const auto promise = std::make_shared<std::promise<identity::ErrandAnswer>>();
  auto answer = promise->get_future();
  agent.run(errand,
            [promise](identity::ErrandAnswer found) { promise->set_value(std::move(found)); });
  errand->done = true;
  errand->answer = fail(code::kKeysUnavailable, Blame::kInternal, "no answer came in time");
  if (answer.wait_for(seconds{10}) != std::future_status::ready) return;
  identity::ErrandAnswer found = answer.get();
  errand->answer = std::move(found.identity);
  errand->good_until = found.good_until;
}

/// As a request with this token would be judged, but for what it is bound to. Asks the issuer, or
/// the authorisation server, where the configuration says so.
Result<std::shared_ptr<const identity::Identity>> judge_by(const identity::Provider& provider,
                                                           identity::Agent& agent,
                                                           std::string_view token,
                                                           const Clock& clock) {
  identity::ThreadState thread(1);
  const identity::TokenTime now = identity::token_time(clock.wall_now());
  std::shared_ptr<identity::Errand> errand;
  if (provider.kind() == identity::Provider::Kind::kOpaqueTokens) {
    auto known = provider.recall_token(token, thread, now, clock.now(), errand);
    if (errand == nullptr) return known;
    do_errand(agent, errand);
    return provider.take_answer(*errand, thread, now);
  }
  auto first = provider.authenticate_token(token, thread, now);
  if (first) return first;
  errand = provider.errand_after(first.error(), token, thread, clock.now());
  if (errand == nullptr) return first;
  do_errand(agent, errand);
  auto second = provider.authenticate_token(token, thread, now);
  return second || errand->answer ? second : std::unexpected(errand->answer.error());
}

/// What has to be shown with a token that is bound; "" for one that is not.
std::string conditions_of(const identity::Identity& who) {
  std::string out;
  if (!who.dpop_thumbprint().empty()) out = " with a proof of its key in the field DPoP";
  if (!who.certificate_thumbprint().empty()) {
    out += (out.empty() ? " on a connection with" : " and on a connection with");
    out += " its client certificate";
  }
  return out.empty() ? out : ", only" + out;
}

int judge(Options options, std::string_view token, std::string& out) {
  const SystemClock clock;
  const auto broker = io::make_local_broker();
  const gateway::LoadResult loaded = load_or_tell(options.config, *broker);
  if (loaded.plan == nullptr) return 2;
  const identity::ProviderConfig* from = choose(loaded.config, options.identity);
  if (from == nullptr) return 2;
  Diagnostics problems;
  const auto provider = identity::Provider::load(options.identity, *from, {}, *broker, problems);
  if (provider == nullptr) {
    print_error("{}", problems.render());
    return 2;
  }
  identity::Agent agent(*broker, clock, nullptr);
  agent.adopt({provider});
  const auto identity = judge_by(*provider, agent, token, clock);
  if (identity && provider->dpop_required() && (*identity)->dpop_thumbprint().empty()) {
    out += fmt::format(
        "{} refuses it: it is not bound to a key, which `dpop.required` demands ({}).\n",
        options.identity, rule_name(code::kTokenAsBearer));
    return 1;
  }
  if (identity) {
    out += fmt::format("{} accepts it{}.\n", options.identity, conditions_of(**identity));
    return 0;
  }
  out += fmt::format("{} refuses it: {} ({}).\n", options.identity, identity.error().what,
                     rule_name(identity.error().code));
  return 1;
}

int inspect(const Options& options) {
  const SystemClock clock;
  const std::string token = read_token();
  identity::TokenReader reader;
  std::string out = describe(reader, token, identity::token_time(clock.wall_now()));
  const int code = options.config.empty() ? 0 : judge(options, token, out);
  print(out);
  return code;
}

}  // namespace

void add_token_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("token", "Access tokens");
  command->require_subcommand(1);
  CLI::App* inspect_command = command->add_subcommand(
      "inspect",
      "Reads a token from standard input and says why it would be accepted or refused. Prints "
      "neither the token nor its signature, nor the values of claims that may be personal");
  auto options = std::make_shared<Options>();
  inspect_command->add_option("-c,--config", options->config,
                              "Verify it with an issuer of this configuration");
  inspect_command
      ->add_option("--identity", options->identity,
                   "The name of that issuer under `identity`; not needed when there is only one")
      ->needs("--config");
  inspect_command->footer(
      "Exit codes: 0 accepted, or only read; 1 refused, 2 wrong usage or configuration.\n"
      "Example: merlon token inspect -c merlon.yaml < token.txt");
  inspect_command->callback([options, &exit_code] { exit_code = inspect(*options); });
}

}  // namespace merlon::cli
