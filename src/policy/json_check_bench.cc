#include <benchmark/benchmark.h>

#include <string>

#include "policy/json_check.h"
#include "policy/json_schema.h"

// Budget: depth and grammar of JSON are checked at 500 MiB/s a core or more.
namespace merlon::policy {
namespace {

/// About `bytes` of orders, as APIs send them: names, short texts, numbers.
std::string orders(std::size_t bytes) {
  std::string text = "[";
  for (unsigned i = 0; text.size() < bytes; ++i) {
    if (i != 0) text += ',';
    text +=
        R"({"id":)" + std::to_string(i) +
        R"(,"customer":"c-48151623","state":"open","note":"leave it at the door, please ring twice",)"
        R"("total":129.95,"items":[{"sku":"A-1000","quantity":2},{"sku":"B-20","quantity":1}]})";
  }
  return text + "]";
}

void BM_CheckJson(benchmark::State& state) {
  const std::string text = orders(1 << 20U);
  const auto part_bytes = static_cast<std::size_t>(state.range(0));
  for (auto _ : state) {
    JsonChecker checker(32);
    bool good = true;
    for (std::size_t at = 0; at < text.size(); at += part_bytes)
      good = checker.take(std::string_view(text).substr(at, part_bytes)).has_value() && good;
    good = checker.finish().has_value() && good;
    if (!good) state.SkipWithError("refused");
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(text.size()) * state.iterations());
}
BENCHMARK(BM_CheckJson)->Arg(16 * 1024)->Arg(1 << 20U)->ArgName("part_bytes");

void BM_JudgeBySchema(benchmark::State& state) {
  const std::string text = orders(static_cast<std::size_t>(state.range(0)));
  const auto schema = JsonSchema::read(R"({"type":"array","items":{"type":"object",
      "required":["id","items"],"additionalProperties":false,"properties":{"id":{"type":"integer"},
      "customer":{"type":"string","pattern":"^c-[0-9]+$"},"state":{"enum":["open","closed"]},
      "note":{"type":"string","maxLength":200},"total":{"type":"number","minimum":0},
      "items":{"type":"array","items":{"type":"object"}}}}})");
  JsonChecker checker(32);
  if (!schema || !checker.take(text)) return state.SkipWithError("refused");
  for (auto _ : state) {
    if (!(*schema)->judge(text, checker.names(), nullptr)) state.SkipWithError("refused");
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(text.size()) * state.iterations());
}
BENCHMARK(BM_JudgeBySchema)->Arg(1024)->Arg(64 * 1024)->ArgName("bytes");

}  // namespace
}  // namespace merlon::policy
