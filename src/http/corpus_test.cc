// Hostile, malformed and valid requests as whole connections: the first request of each must be let
// through or refused by head, host, path, query and body together, as the corpus says.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "http/h1_body.h"
#include "http/h1_request_parser.h"
#include "http/host.h"
#include "http/path.h"
#include "http/status.h"

namespace merlon::http {
namespace {

struct Verdict {
  bool accepted = false;
  std::string why;
};

Verdict refused(const Error& error) {
  return {.accepted = false,
          .why = std::string(rule_name(error.code)) + ": " + error.what + " at " +
                 std::to_string(error.offset_bytes)};
}

Verdict judge_body(const RequestHead& head, std::string_view rest) {
  if (head.framing == Framing::kLength) {
    return {.accepted = rest.size() >= head.content_length, .why = "body is cut off"};
  }
  if (head.framing != Framing::kChunked) return {.accepted = true, .why = {}};
  ChunkedDecoder decoder;
  while (!decoder.done() && !rest.empty()) {
    const auto step = decoder.next(rest);
    if (!step) return refused(step.error());
    rest.remove_prefix(step->consumed);
  }
  return {.accepted = decoder.done(), .why = "chunked body is cut off"};
}

/// Judges the first request in `raw`, given `cut` bytes at a time.
Verdict judge(std::string_view raw, std::size_t cut) {
  RequestParser parser;
  std::size_t head_bytes = 0;
  for (std::size_t given = std::min(cut, raw.size()); head_bytes == 0;
       given = std::min(given + cut, raw.size())) {
    const auto parsed = parser.parse(raw.substr(0, given));
    if (!parsed) return refused(parsed.error());
    head_bytes = *parsed;
    if (given == raw.size()) break;
  }
  if (head_bytes == 0) return {.accepted = false, .why = "head is cut off"};
  const RequestHead& head = parser.head();
  std::array<char, 16 * 1024> scratch;
  if (!head.authority.empty()) {
    if (const auto host = canonical_host(head.authority, scratch); !host) {
      return refused(host.error());
    }
  }
  if (head.target.form != TargetForm::kAsterisk) {
    const auto path = canonical_path(head.target.path, scratch);
    if (!path) return refused(path.error());
    if (auto ok = check_oddities(path->oddities, {}); !ok) return refused(ok.error());
    if (auto ok = check_query(head.target.query); !ok) return refused(ok.error());
  }
  return judge_body(head, raw.substr(head_bytes));
}

std::string from_base64(std::string_view text) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const std::size_t value = kAlphabet.find(c);
    if (value == std::string_view::npos) break;
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out.push_back(static_cast<char>(bits >> count & 0xff));
    }
  }
  return out;
}

/// Runs every case of a file of JSON lines whole and cut at every byte. Returns how many there
/// were.
std::size_t run(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::size_t cases = 0;
  for (std::string line; std::getline(in, line);) {
    const auto test = nlohmann::json::parse(line);
    const std::string expected = test.at("expected");
    const std::string raw = test.contains("raw")
                                ? test.at("raw").get<std::string>()
                                : from_base64(test.at("raw_base64").get<std::string>());
    const std::string id = test.at("id");
    const Verdict whole = judge(raw, raw.size() + 1);
    const Verdict bytewise = judge(raw, 1);
    EXPECT_EQ(whole.accepted, bytewise.accepted)
        << id << ": " << whole.why << " but in bytes " << bytewise.why;
    if (expected != "either") {
      EXPECT_EQ(whole.accepted, expected == "accept") << id << ": " << whole.why << "\n" << raw;
    }
    ++cases;
  }
  return cases;
}

TEST(Corpus, OwnCasesAreJudgedAsTheySay) {
  const std::filesystem::path file =
      std::filesystem::path(MERLON_SOURCE_DIR) / "src/http/testdata/requests.jsonl";
  EXPECT_GE(run(file), 100U);
}

TEST(Corpus, SharedCasesAreJudgedAsTheySay) {
  const std::filesystem::path file =
      std::filesystem::path(MERLON_SOURCE_DIR) / "../shared/corpora/http1.jsonl";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << "the shared corpus is not here";
  EXPECT_GE(run(file), 400U);
}

}  // namespace
}  // namespace merlon::http
