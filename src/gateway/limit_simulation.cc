#include "gateway/limit_simulation.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>
#include <utility>

namespace merlon::gateway {
namespace {

// Monotonic time begins somewhere after zero, as it does on a machine.
constexpr Instant kOrigin{std::chrono::hours{1}};

/// Digits at `at`; nullopt for anything else.
std::optional<int> digits(std::string_view text, std::size_t at, std::size_t count) {
  int value = 0;
  const char* const end = text.data() + at + count;
  const auto done = std::from_chars(text.data() + at, end, value);
  return done.ec == std::errc{} && done.ptr == end && value >= 0 ? std::optional(value)
                                                                 : std::nullopt;
}

/// "2026-11-23T20:15:04.123456Z", as the access log writes it.
std::optional<WallTime> parse_time(std::string_view text) {
  if (text.size() != 27 || text[10] != 'T' || text[26] != 'Z') return std::nullopt;
  const auto year = digits(text, 0, 4);
  const auto month = digits(text, 5, 2);
  const auto day = digits(text, 8, 2);
  const auto hour = digits(text, 11, 2);
  const auto minute = digits(text, 14, 2);
  const auto second = digits(text, 17, 2);
  const auto micro = digits(text, 20, 6);
  if (!year || !month || !day || !hour || !minute || !second || !micro) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year{*year},
                                         std::chrono::month{static_cast<unsigned>(*month)},
                                         std::chrono::day{static_cast<unsigned>(*day)}};
  if (!date.ok()) return std::nullopt;
  return std::chrono::sys_days{date} + std::chrono::hours{*hour} + std::chrono::minutes{*minute} +
         seconds{*second} + microseconds{*micro};
}

std::string text_of(const nlohmann::json& line, const char* name) {
  const auto found = line.find(name);
  return found != line.end() && found->is_string() ? found->get<std::string>() : std::string();
}

bool is_limit(const policy::Policy& judge) {
  constexpr std::string_view kLimits[] = {"rate_limit", "quota", "concurrency"};
  return std::ranges::find(kLimits, judge.name()) != std::end(kLimits);
}

bool asks_who(const Route& route) {
  return std::ranges::any_of(route.policies, [](const auto& judge) {
    return judge->step() == policy::Step::kAuthenticate;
  });
}

/// The route that a preflight went to: the log does not say which method it asked for.
const Route* preflight_route(const Plan& plan, std::string_view name) {
  const auto named = [&](const auto& route) { return route->name == name; };
  const auto found = std::ranges::find_if(plan.routes, named);
  return found != plan.routes.end() && (*found)->opens_to_origins ? found->get() : nullptr;
}

/// Whether the request came so far in the log that this limit counted it.
bool counts(const policy::Policy& judge, const Route& route, bool preflight, bool known) {
  if (preflight) return judge.step() < policy::Step::kCors;  // which answers it
  return judge.step() < policy::Step::kAuthenticate || known || !asks_who(route);
}

}  // namespace

/// The tables, and the places that requests in progress hold.
class SimulatedState {
 public:
  state::Tables tables;
  state::QuotaCounts quotas;

  /// Gives back what requests that are over by now held.
  void advance(Instant now) {
    while (!held_.empty() && held_.front().until <= now) {
      std::ranges::pop_heap(held_, later);
      held_.pop_back();
    }
  }
  void keep(state::Holds holds, Instant until) {
    if (holds.size() == 0) return;
    held_.push_back({.until = until, .holds = std::move(holds)});
    std::ranges::push_heap(held_, later);
  }

 private:
  struct Held {
    Instant until;
    state::Holds holds;
  };
  static bool later(const Held& a, const Held& b) noexcept { return a.until > b.until; }
  std::vector<Held> held_;
};

LimitSimulation::LimitSimulation(const Plan& plan, const Config& config) : plan_(plan) {
  identity::Hasher hasher;
  std::array<char, identity::kPseudonymBytes> text;
  const auto add_names = [&](const Route& route, const policy::LimitClassConfig& of) {
    for (const auto& name : of.identities) {
      const auto known = identity::Identity::make({.subject = *name});
      if (known != nullptr)
        names_.emplace(identity::pseudonym(route.provider, *known, hasher, text), *name);
    }
  };
  for (std::size_t i = 0; i < std::min(plan.routes.size(), config.routes.size()); ++i) {
    for (const auto& limit : policy::setting<policy::RateLimits>(config.routes[i])) {
      for (const policy::LimitClassConfig& each : limit.classes) add_names(*plan.routes[i], each);
    }
  }
}

std::shared_ptr<const identity::Identity> LimitSimulation::identity_of(std::string_view pseudonym) {
  if (pseudonym.empty()) return nullptr;
  const auto found = identities_.find(pseudonym);
  if (found != identities_.end()) return found->second;
  const auto name = names_.find(pseudonym);
  const std::string_view subject = name == names_.end() ? pseudonym : name->second;
  return identities_.emplace(pseudonym, identity::Identity::make({.subject = subject}))
      .first->second;
}

void LimitSimulation::add(std::string_view line) {
  if (line.empty()) return;
  const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_object()) {
    ++report_.unreadable;
    return;
  }
  if (text_of(json, "kind") == "connection") return;
  const auto time = parse_time(text_of(json, "time"));
  const auto client = IpAddress::parse(text_of(json, "client"));
  const auto took = json.find("total_us");
  const std::string method = text_of(json, "method");
  if (!time || !client || took == json.end() || !took->is_number_unsigned() || method.empty()) {
    ++report_.unreadable;
    return;
  }
  const RouteMatch match = plan_.router->match(text_of(json, "host"), text_of(json, "path"),
                                               http::method_of(method), method);
  const Route* route = match.route;
  const bool preflight = route == nullptr && method == "OPTIONS";
  if (preflight) route = preflight_route(plan_, text_of(json, "route"));
  if (route == nullptr) {
    ++report_.unrouted;
    return;
  }
  // A day is longer than any request lasts; a log that says otherwise must not upset the clock.
  const microseconds lasted{
      std::min<std::uint64_t>(took->get<std::uint64_t>(), 86'400ULL * 1'000'000)};
  const auto who = json.find("identity");
  requests_.push_back({.arrival = Instant{time->time_since_epoch()} - lasted,
                       .wall = *time - lasted,
                       .took = lasted,
                       .client = *client,
                       .route = route,
                       .preflight = preflight,
                       .identity = who != json.end() && who->is_object()
                                       ? identity_of(text_of(*who, "subject"))
                                       : nullptr,
                       .line = requests_.size()});
}

std::optional<policy::Refusal> LimitSimulation::refusal_of(const Request& request,
                                                           SimulatedState& state) {
  http::RequestHead head;
  policy::Reading reading;
  reading.client.address = request.client;
  policy::ConnectionFacts connection;
  connection.client = request.client;
  policy::ResponseFields fields;
  policy::Observations observations;
  state::Holds holds;
  policy::Context context{.head = head,
                          .reading = reading,
                          .connection = connection,
                          .preflight = request.preflight,
                          .now = request.arrival,
                          .wall = request.wall,
                          .fields = fields,
                          .tables = state.tables,
                          .holds = holds,
                          .observations = observations,
                          .quotas = &state.quotas,
                          .identity = request.identity};
  for (const auto& judge : request.route->policies) {
    if (!is_limit(*judge) ||
        !counts(*judge, *request.route, request.preflight, request.identity != nullptr))
      continue;
    const policy::Decision decision = judge->check(context);
    if (decision.kind == policy::Decision::Kind::kRefuse) return decision.refusal;
    if (!observations.all().empty()) return observations.all().front().refusal;
  }
  state.keep(std::move(holds), request.arrival + request.took);
  return std::nullopt;
}

SimulationReport LimitSimulation::run() {
  std::ranges::sort(requests_, [](const Request& a, const Request& b) {
    return std::tie(a.arrival, a.line) < std::tie(b.arrival, b.line);
  });
  std::map<Key, Refused> refused;
  std::map<IpAddress, SimulationReport::Client> clients;
  SimulatedState state;
  // Only differences count: the log begins at the origin of the clock.
  const nanoseconds shift =
      requests_.empty() ? nanoseconds{0} : kOrigin - requests_.front().arrival;
  for (Request& request : requests_) {
    request.arrival += shift;
    state.advance(request.arrival);
    SimulationReport::Client& client = clients[request.client.client_key()];
    client.client = request.client.client_key();
    ++client.requests;
    ++report_.requests;
    if (request.identity == nullptr && !request.preflight && asks_who(*request.route))
      ++report_.anonymous;
    const std::optional<policy::Refusal> refusal = refusal_of(request, state);
    if (!refusal) continue;
    ++report_.refused;
    ++client.refused;
    Refused& entry = refused[{refusal->line, rule_name(refusal->error.code)}];
    entry.route = request.route;
    entry.limit_class = refusal->limit_class;
    ++entry.count;
    ++entry.clients[client.client];
  }
  for (const auto& [by, entry] : refused) {
    report_.limits.push_back({.route = entry.route->name,
                              .rule = std::string(by.second),
                              .limit_class = std::string(entry.limit_class),
                              .line = by.first->file_line(),
                              .refused = entry.count,
                              .clients = entry.clients.size()});
  }
  std::ranges::sort(report_.limits, [](const auto& a, const auto& b) {
    return std::tie(a.route, a.line, a.rule) < std::tie(b.route, b.line, b.rule);
  });
  for (const auto& [address, client] : clients) {
    if (client.refused > 0) report_.clients.push_back(client);
  }
  std::ranges::sort(report_.clients, [](const auto& a, const auto& b) {
    return std::tie(b.refused, a.client) < std::tie(a.refused, b.client);
  });
  return std::move(report_);
}

}  // namespace merlon::gateway
