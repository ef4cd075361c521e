#include "audit/content_policy.h"

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <vector>

#include "base/ascii.h"

namespace merlon::audit {
namespace {

/// The words of `text`, parted by what parts them in a policy: ASCII white space.
std::vector<std::string_view> words_between_blanks(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\n\f\r";
  std::vector<std::string_view> out;
  for (std::size_t from = text.find_first_not_of(kBlanks); from != text.npos;) {
    const std::size_t end = std::min(text.find_first_of(kBlanks, from), text.size());
    out.push_back(text.substr(from, end - from));
    from = text.find_first_not_of(kBlanks, end);
  }
  return out;
}

bool is_any_of(std::string_view source, std::initializer_list<std::string_view> names) {
  return std::ranges::any_of(names,
                             [&](std::string_view name) { return ascii::iequals(source, name); });
}

bool is_nonce_or_hash(std::string_view source) {
  constexpr std::string_view kPrefixes[] = {"'nonce-", "'sha256-", "'sha384-", "'sha512-"};
  return std::ranges::any_of(kPrefixes, [&](std::string_view prefix) {
    return ascii::iequals(source.substr(0, prefix.size()), prefix);
  });
}

/// The sources that `directive` lists in `policy`; nullopt when the policy does not have it.
/// Browsers heed the first directive of a name, in any case of letters (CSP 2.2.1).
std::optional<std::vector<std::string_view>> policy_sources(std::string_view policy,
                                                            std::string_view directive) {
  while (!policy.empty()) {
    const std::size_t end = std::min(policy.find(';'), policy.size());
    std::vector<std::string_view> words = words_between_blanks(policy.substr(0, end));
    policy.remove_prefix(std::min(end + 1, policy.size()));
    if (words.empty() || !ascii::iequals(words.front(), directive)) continue;
    words.erase(words.begin());
    return words;
  }
  return std::nullopt;
}

}  // namespace

std::string_view script_weakness(std::string_view policy) {
  auto sources = policy_sources(policy, "script-src");
  if (!sources) sources = policy_sources(policy, "default-src");
  if (!sources) return {};
  const bool dynamic = std::ranges::any_of(
      *sources, [](std::string_view source) { return is_any_of(source, {"'strict-dynamic'"}); });
  const bool picked = dynamic || std::ranges::any_of(*sources, is_nonce_or_hash);
  for (const std::string_view source : *sources) {
    if (is_any_of(source, {"'unsafe-eval'"})) return source;
    if (!picked && is_any_of(source, {"'unsafe-inline'"})) return source;
    if (!dynamic && is_any_of(source, {"*", "http:", "https:", "data:"})) return source;
  }
  return {};
}

Framing framing_of(std::string_view policy) {
  const auto sources = policy_sources(policy, "frame-ancestors");
  if (!sources) return Framing::kUnsaid;
  const bool everyone = std::ranges::any_of(*sources, [](std::string_view source) {
    return is_any_of(source, {"*", "http:", "https:"});
  });
  return everyone ? Framing::kEveryone : Framing::kSome;
}

}  // namespace merlon::audit
