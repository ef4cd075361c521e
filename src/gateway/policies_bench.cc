#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <memory>
#include <string>

#include "gateway/door.h"
#include "gateway/judge.h"
#include "gateway/load.h"
#include "http/h1_request_parser.h"

// Budgets: all policies on cost a request at most 1.5 us over a bare route; a configuration of
// 10,000 routes loads in under 200 ms.
namespace merlon::gateway {
namespace {

constexpr std::string_view kPolicies = R"(
    rate_limit: { rate: 1000000/s, burst: 1000000, per: client }
    concurrency: { limit: 1000, per: client }
    cors: { origins: [https://app.example.com], headers: [authorization], expose: [etag] }
    body: { max: 1MiB, content_types: [application/json] }
    headers: { set: { Cache-Control: no-store }, remove: [X-Debug] }
)";

std::string configuration(std::size_t routes, bool policies) {
  std::string text =
      "version: 1\nlisteners: [{ name: a, address: 127.0.0.1:8080 }]\n"
      "upstreams: { api: { endpoints: [127.0.0.1:9000] } }\nroutes:\n";
  for (std::size_t i = 0; i < routes; ++i) {
    text += fmt::format(
        "  - name: r{}\n    match: {{ host: api.example.com, path: /v1/orders{}/** }}\n"
        "    methods: [GET, POST]\n    auth: none\n    upstream: api{}\n",
        i, i, policies ? kPolicies : "");
  }
  return text;
}

LoadResult load(const std::string& text) {
  const auto broker = io::make_local_broker();
  return load_plan_text("bench.yaml", text, *broker, SystemClock().wall_now(), kStrict);
}

/// Steps 2 to 11 and the door of one POST, without input and output.
void BM_JudgeAndDress(benchmark::State& state) {
  const LoadResult loaded = load(configuration(10, state.range(0) != 0));
  if (loaded.plan == nullptr) return state.SkipWithError("the configuration is wrong");
  const std::string bytes =
      "POST /v1/orders3/17 HTTP/1.1\r\nHost: api.example.com\r\nOrigin: https://app.example.com\r\n"
      "Content-Type: application/json\r\nContent-Length: 20\r\nUser-Agent: bench\r\n\r\n";
  http::RequestParser parser;
  if (!parser.parse(bytes)) return state.SkipWithError("the head is wrong");
  ConnectionFacts facts;
  facts.client = *IpAddress::parse("192.0.2.7");
  auto scratch = std::make_unique<ReadingScratch>();
  auto tables = std::make_unique<state::Tables>();
  state::Holds holds;
  policy::ResponseFields fields;
  policy::Observations observations;
  http::ResponseHead reply;
  SystemClock clock;
  for (auto _ : state) {
    Reading reading;
    Refusal refusal;
    fields.clear();
    const Judged judged = judge_head(parser.head(), facts, *loaded.plan, loaded.plan->listeners[0],
                                     *scratch, reading, fields, refusal);
    if (judged.routed.route == nullptr) return state.SkipWithError("refused");
    policy::Context context{.head = parser.head(),
                            .reading = reading,
                            .connection = facts,
                            .preflight = false,
                            .now = clock.now(),
                            .wall = {},
                            .fields = fields,
                            .tables = *tables,
                            .holds = holds,
                            .observations = observations};
    std::size_t next = 0;
    const policy::Decision decision = run_policies(*judged.routed.route, context, next);
    if (decision.kind != policy::Decision::Kind::kNext) return state.SkipWithError("refused");
    reply.fields.clear();
    benchmark::DoNotOptimize(dress(reply, {.route = judged.routed.route,
                                           .secure = true,
                                           .request_id = "0123456789abcdef",
                                           .date = "Sun, 06 Nov 1994 08:49:37 GMT",
                                           .policy_fields = fields.lines()}));
    holds.release();
  }
}
BENCHMARK(BM_JudgeAndDress)->Arg(0)->Arg(1)->ArgName("policies");

void BM_Load(benchmark::State& state) {
  const std::string text = configuration(static_cast<std::size_t>(state.range(0)), false);
  for (auto _ : state) {
    const LoadResult loaded = load(text);
    if (loaded.plan == nullptr) return state.SkipWithError("the configuration is wrong");
  }
}
BENCHMARK(BM_Load)->Arg(10)->Arg(10'000)->ArgName("routes")->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace merlon::gateway
