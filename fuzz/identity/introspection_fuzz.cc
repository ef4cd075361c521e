// What authorisation servers answer, and metadata: nothing but `active: true` opens; what metadata
// names is an https URL that reads the same again.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "identity/discovery.h"
#include "identity/introspection.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void check_answer(std::string_view text) {
  namespace identity = merlon::identity;
  static identity::JsonDocument document;
  identity::TokenRules rules;
  rules.issuer = "https://id.example.com";
  rules.audiences = {"a"};
  rules.claims = {"/a", "/a/b"};
  const auto who = identity::read_introspection(text, rules, 2'000'000'000, document);
  if (!who) return;
  require(text.find("active") != std::string_view::npos ||
          text.find('\\') != std::string_view::npos);
  require((*who)->method() == identity::Method::kIntrospection);
  static_cast<void>((*who)->claim_text(1));
}

void check_metadata(std::string_view text) {
  const auto url = merlon::identity::read_metadata(text, "https://id.example.com");
  if (!url.has_value()) return;
  const auto again = merlon::upstream::parse_https_url("https://" + url->authority() + url->path +
                                                       (url->has_query ? "?" + url->query : ""));
  require(again.has_value() && *again == *url);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check_answer(text);
  check_metadata(text);
  const std::size_t quarter = size / 4;
  const auto part = [&](std::size_t n) { return std::string(text.substr(n * quarter, quarter)); };
  const auto fresh = merlon::identity::freshness(
      {.cache_control = part(0), .age = part(1), .expires = part(2), .date = part(3)});
  require(fresh >= merlon::identity::kFreshMin && fresh <= merlon::identity::kFreshMax);
  static_cast<void>(merlon::identity::metadata_urls(text));
  static_cast<void>(merlon::identity::is_bearer_token(text));
  return 0;
}
