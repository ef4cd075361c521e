#include "gateway/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "config/shown.h"
#include "gateway/door.h"
#include "gateway/health_config.h"
#include "http/h1_request_parser.h"
#include "identity/thread_state.h"
#include "policy/authenticate.h"
#include "policy/content.h"
#include "tls/server_context.h"

namespace merlon::gateway {
namespace {

using config::shown;

std::string line_of(const Mark* mark) {
  return mark == nullptr || !mark->known() ? std::string() : mark->file_line();
}

/// One walk. Large, since it holds all that a Transaction does: on the heap.
class Walk {
 public:
  Walk(const Plan& plan, const MadeUpRequest& request, Instant now, WallTime wall)
      : plan_(plan),
        request_(request),
        at_(*request.listener),
        peer_(at_.proxy_protocol ? request.proxy : request.client),
        made_up_tls_{request.server_name},
        facts_{.peer = {.address = peer_.value_or(request.client), .port = 0},
               .client = request.client,
               .made_up_tls = at_.tls != nullptr ? &made_up_tls_ : nullptr},
        parser_(plan.head_limits),
        context_{.head = parser_.head(),
                 .reading = reading_,
                 .connection = facts_,
                 .preflight = false,
                 .now = now,
                 .wall = wall,
                 .fields = fields_,
                 .tables = tables_,
                 .holds = holds_,
                 .observations = observations_,
                 .identities = &identities_,
                 .identity = nullptr} {}

  Explanation run() {
    if (connect() && read_head()) judge();
    list_not_simulated();
    return std::move(out_);
  }

 private:
  void say(std::string_view step, std::string decision, const Mark* line) {
    out_.steps.push_back(
        {.step = std::string(step), .decision = std::move(decision), .line = line_of(line)});
  }

  void refuse(const Refusal& refusal) {
    out_.refused = true;
    out_.status = refusal.status;
    out_.step = refusal.step;
    out_.rule = rule_name(refusal.error.code);
    out_.line = line_of(refusal.line);
    out_.what = refusal.error.what;
    const std::string with = refusal.status == 0 ? "it" : fmt::format("with {}", refusal.status);
    say(refusal.step, fmt::format("refuses {}: {}", with, refusal.error.what), refusal.line);
  }

  /// A judge that would have to ask somebody: neither yes nor no.
  void leave_open(const Refusal& refusal) {
    out_.undecided = true;
    out_.step = refusal.step;
    out_.line = line_of(refusal.line);
    out_.what = refusal.error.what;
    say(refusal.step, fmt::format("cannot be told here: {}", refusal.error.what), refusal.line);
  }

  [[nodiscard]] bool has_policy(std::string_view name) const {
    return std::ranges::any_of(route_->policies,
                               [&](const auto& policy) { return policy->name() == name; });
  }

  void list_not_simulated() {
    const auto add = [&](std::string what) { out_.not_simulated.push_back(std::move(what)); };
    add("load: a gateway that is draining, or at its `limits`, closes connections or answers 503");
    if (at_.proxy_protocol && !peer_.has_value())
      add("PROXY: the connection is taken as one of a trusted proxy that names this client");
    if (at_.tls != nullptr)
      add(facts_.certificate_open
              ? "TLS: the handshake is taken as done, and the client's certificate is not known"
              : "TLS: the handshake is taken as done");
    if (route_ == nullptr) return;
    const http::RequestHead& head = parser_.head();
    if (head.framing == http::Framing::kLength && head.content_length != request_.body.size())
      add("the body: the head declares another length than that of the body given here, which is "
          "judged");
    if (head.fields.contains(http::FieldId::kGrpcTimeout))
      add("grpc-timeout: the request is one of HTTP/1.1; a gRPC call with an invalid one would be "
          "refused with 400");
    if (has_policy("rate_limit") || has_policy("quota") || has_policy("concurrency")) {
      add(plan_.shared_state == nullptr
              ? "counts of limits: each limit is asked as if this were the first request"
              : "counts of limits, here and in Redis: each limit is asked as if this were the "
                "first request");
    }
    const bool authenticates = std::ranges::any_of(route_->policies, [](const auto& policy) {
      return policy->step() == policy::Step::kAuthenticate;
    });
    if (authenticates) add("earlier failed authentications of this client, which may lead to 429");
    if (out_.upstream.empty()) return;
    add("the upstream: whether it is reached in time, and what it answers");
    if (route_->upstream->health.has_value())
      add("health checks: none are made here; if every endpoint fails them, the answer is 503");
  }

  bool connect() {
    const auto holds = [&](std::span<const Cidr> blocks) {
      return std::ranges::any_of(blocks, [&](const Cidr& block) { return block.contains(*peer_); });
    };
    // Whom nobody named is taken as somebody who may.
    if (peer_.has_value() && !at_.allow_from.empty() && !holds(at_.allow_from))
      return drop("the listener drops connections of this network");
    if (peer_.has_value() && at_.proxy_protocol && !holds(plan_.trusted_proxies))
      return drop("the listener drops connections from addresses that are not trusted proxies",
                  code::kBadProxyHeader);
    const std::string& name = request_.server_name;
    if (at_.tls != nullptr && !name.empty() && at_.tls->find(name) == nullptr)
      return drop("no certificate of the listener is for this name", code::kTlsUnknownName);
    say("connection", fmt::format("the listener {} accepts it", shown(at_.name)), &at_.at);
    return true;
  }

  bool drop(const char* why, std::uint16_t rule = code::kNetworkNotAllowed) {
    refuse({.status = 0,
            .error = {.code = rule, .blame = Blame::kClient, .what = why},
            .step = "connection",
            .line = &at_.at});
    return false;
  }

  bool read_head() {
    const Result<std::size_t> parsed = parser_.parse(request_.head);
    if (parsed && *parsed != 0) {
      say("framing", "the head is well-formed", nullptr);
      return true;
    }
    refuse(framing_refusal(
        parsed ? Error{.code = code::kBadRequestLine, .what = "the head is not complete"}
               : parsed.error()));
    return false;
  }

  void judge() {
    Refusal refusal;
    const Judged judged =
        judge_head(parser_.head(), facts_, plan_, at_, scratch_, reading_, fields_, refusal);
    if (judged.where == Destination::kRefused) {
      if (refusal.step != "reading") say_reading();
      return refuse(refusal);
    }
    say_reading();
    if (judged.where == Destination::kRedirect) return redirect();
    if (judged.where == Destination::kStatusPage) {
      out_.status = 200;
      return say("route", "the gateway's own page", &at_.at);
    }
    facts_.certificate_open = asks_for_certificate();
    route_ = judged.routed.route;
    out_.route = route_->name;
    say("route", fmt::format("goes to {}", shown(route_->name)), &route_->at);
    context_.preflight = judged.routed.preflight;
    say("method",
        context_.preflight ? "a preflight: the requested method is listed" : "the method is listed",
        &route_->methods_at);
    if (judge_policies() && judge_before_body() && judge_body()) deliver();
  }

  /// Of whoever connects for this host.
  [[nodiscard]] bool asks_for_certificate() const {
    if (at_.tls == nullptr) return false;
    const std::string_view name =
        request_.server_name.empty() ? reading_.host.name : std::string_view(request_.server_name);
    const tls::ServerContext::Site* const site = at_.tls->find(name);
    return site != nullptr && site->client_auth != nullptr;
  }

  void say_reading() {
    say("reading",
        fmt::format("host {}, path {}, client {}", shown(reading_.host.name), shown(reading_.path),
                    reading_.client.address.to_string()),
        nullptr);
  }

  void redirect() {
    out_.status = 308;
    say("route", fmt::format("sent to https on port {}", *at_.redirect_to_port), &at_.at);
  }

  bool judge_policies() {
    for (std::size_t next = 0; next < route_->policies.size();) {
      const std::size_t first = next;
      const policy::Decision decision = run_policies(*route_, context_, next);
      // Those that had nothing against it before the one that decided.
      const bool all = decision.kind == policy::Decision::Kind::kNext;
      for (std::size_t i = first; i < (all ? next : next - 1); ++i)
        say_passed(*route_->policies[i]);
      if (all) return true;
      const policy::Policy& by = *route_->policies[next - 1];
      say_classes(by);
      switch (decision.kind) {
        case policy::Decision::Kind::kNext:
        case policy::Decision::Kind::kAsk:  // not of a context that may not ask
          break;
        case policy::Decision::Kind::kRefuse:
          if (policy::needs_others(decision.refusal.error)) {
            leave_open(decision.refusal);
          } else {
            refuse(decision.refusal);
          }
          return false;
        case policy::Decision::Kind::kAnswer:
          out_.status = decision.refusal.status;
          say(by.name(), fmt::format("answers with {}", out_.status), &by.at());
          return false;
        case policy::Decision::Kind::kAskShared:
          // Only where there is shared state to ask, and nobody has it here.
          break;
        case policy::Decision::Kind::kDelay:
          say(by.name(), fmt::format("delays it by {} ms", decision.delay.count()), &by.at());
          context_.now += decision.delay;
          break;
      }
    }
    return true;
  }

  /// By which exceptions a limit counts the request.
  void say_classes(const policy::Policy& policy) {
    for (const policy::AppliedClass& each : policy.classes_of(context_))
      say(policy.name(), fmt::format("counts it by the class {}", shown(each.name)), each.line);
  }

  void say_passed(const policy::Policy& policy) {
    say_classes(policy);
    for (const auto& entry : observations_.all()) {
      const bool validates = policy.step() == policy::Step::kValidate;
      const std::string_view step = validates ? std::string_view("validation") : policy.name();
      if (policy.observed_by() != entry.waiver || entry.refusal.step != step) continue;
      say(policy.name(),
          fmt::format("would refuse with {}, and only observes: {}", entry.refusal.status,
                      entry.refusal.error.what),
          entry.refusal.line);
      return;
    }
    say(policy.name(), "lets it pass", &policy.at());
  }

  bool judge_before_body() {
    Refusal refusal;
    if (check_before_body(parser_.head(), *route_, refusal)) return true;
    refuse(refusal);
    return false;
  }

  /// A body whose length is not declared may be empty, and is one.
  [[nodiscard]] bool has_body() const {
    return !request_.body.empty() || parser_.head().framing == http::Framing::kChunked;
  }

  bool judge_body() {
    Refusal refusal;
    if (!fits_body_size(request_.body.size(), *route_, refusal)) {
      refuse(refusal);
      return false;
    }
    if (route_->content == nullptr || !has_body()) return true;
    const policy::ContentRules& rules = *route_->content->content();
    policy::ContentJudge judge(rules);
    Result<void> fits = judge.take(request_.body);
    if (fits) fits = judge.finish(request_.body, nullptr);
    if (fits) {
      say("validation", "the content is valid", &route_->content->at());
    } else if (route_->content->observed_by().has_value()) {
      say("validation", fmt::format("would refuse, and only observes: {}", fits.error().what),
          rules.refusal(fits.error()).line);
    } else {
      refuse(rules.refusal(fits.error()));
    }
    return !out_.refused;
  }

  void deliver() {
    if (route_->upstream == nullptr) {
      out_.status = route_->respond->status;
      return say("respond", fmt::format("answers with {}", out_.status), &route_->at);
    }
    if (hops_left(parser_.head()) == 0U) {
      out_.status = 204;
      return say("respond", "answers with 204: OPTIONS that may not be forwarded (Max-Forwards)",
                 &route_->at);
    }
    if (const auto& health = route_->upstream->health; health.has_value())
      say("health", fmt::format("goes to endpoints that pass {}", shown(describe(*health))),
          &health->at);
    std::string rewritten;
    out_.upstream = route_->upstream->name;
    say("forward",
        fmt::format("to the upstream {} as {}", shown(route_->upstream->name),
                    shown(upstream_path(*route_, reading_.path, rewritten))),
        &route_->upstream->at);
    if (parser_.head().wants_websocket && route_->websocket_idle.has_value())
      say("websocket", "a tunnel opens if the upstream answers 101", nullptr);
  }

  const Plan& plan_;
  const MadeUpRequest& request_;
  const Listener& at_;
  const std::optional<IpAddress> peer_;  ///< absent: not told
  const policy::MadeUpTls made_up_tls_;
  ConnectionFacts facts_;
  http::RequestParser parser_;
  ReadingScratch scratch_;
  Reading reading_;
  policy::ResponseFields fields_;
  state::Tables tables_;
  state::Holds holds_;
  policy::Observations observations_;
  identity::ThreadState identities_{1};
  policy::Context context_;
  const Route* route_ = nullptr;
  Explanation out_;
};

}  // namespace

Explanation explain(const Plan& plan, const MadeUpRequest& request, Instant now, WallTime wall) {
  return std::make_unique<Walk>(plan, request, now, wall)->run();
}

const Listener* listener_for(const Plan& plan, bool secure, std::uint16_t port,
                             std::string_view host) {
  if (port == 0) {
    const Listener* const usual = listener_for(plan, secure, secure ? 443 : 80, host);
    if (usual != nullptr) return usual;
  }
  const Listener* best = nullptr;
  for (const Listener& at : plan.listeners) {
    if ((at.tls != nullptr) != secure || (port != 0 && at.address.port != port)) continue;
    const bool fits = at.serve.api && (at.tls == nullptr || at.tls->find(host) != nullptr);
    if (fits) return &at;
    if (best == nullptr) best = &at;
  }
  return best;
}

}  // namespace merlon::gateway
