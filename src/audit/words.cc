#include "audit/words.h"

#include <algorithm>

#include "base/ascii.h"

namespace merlon::audit {
namespace {

bool is_upper(char c) { return c != ascii::lower(c); }

/// True when one word ends and another begins between two letters or digits.
bool parts(char before, char next) {
  return ascii::is_digit(before) != ascii::is_digit(next) || (!is_upper(before) && is_upper(next));
}

bool fits(std::string_view word, std::string_view pattern) {
  const bool open_start = pattern.starts_with('*');
  const bool open_end = pattern.ends_with('*');
  if (open_start) pattern.remove_prefix(1);
  if (open_end) pattern.remove_suffix(1);
  if (open_start && open_end) return word.find(pattern) != std::string_view::npos;
  if (open_start) return word.ends_with(pattern);
  return open_end ? word.starts_with(pattern) : word == pattern;
}

bool has_pattern(const std::vector<std::string>& words,
                 std::initializer_list<std::string_view> patterns) {
  return std::ranges::any_of(words, [&](std::string_view word) {
    return std::ranges::any_of(patterns, [&](std::string_view one) { return fits(word, one); });
  });
}

/// The first words of the segments of a path: those of "/user-login/api/" are "user" and "api".
std::string heads_of(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    const std::size_t end = std::min(path.find('/'), path.size());
    const std::vector<std::string> words = words_of(path.substr(0, end));
    if (!words.empty()) out += words.front() + ' ';
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return out;
}

}  // namespace

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> out;
  char before = 0;  // of the word that is being read; 0: none is
  for (const char c : text) {
    if (!ascii::is_alnum(c)) {
      before = 0;
      continue;
    }
    if (before == 0 || parts(before, c)) out.emplace_back();
    out.back() += ascii::lower(c);
    before = c;
  }
  return out;
}

bool has_word(std::string_view text, std::initializer_list<std::string_view> patterns) {
  return has_pattern(words_of(text), patterns);
}

bool names_secret(std::string_view name) {
  const std::vector<std::string> words = words_of(name);
  if (words.empty()) return false;
  const bool about_one =
      has_pattern({words.back()}, {"type", "name", "issuer", "url", "uri", "endpoint", "header",
                                   "format", "algorithm", "method", "realm", "scope", "audience",
                                   "lifetime", "ttl", "expire*", "expiry", "location", "status"});
  if (about_one) return false;
  const auto api = std::ranges::find(words, "api");
  return has_pattern(words, {"*token", "*secret", "*password", "*passwd", "*apikey"}) ||
         (api != words.end() && api + 1 != words.end() && *(api + 1) == "key");
}

bool speaks_of_authentication(std::string_view text) {
  return std::ranges::any_of(words_of(text), [](std::string_view word) {
    const bool author = word.starts_with("author") && !word.starts_with("authoriz");
    return !author && (word.starts_with("auth") || word.ends_with("auth"));
  });
}

bool is_open_by_nature(std::string_view path) {
  const std::string heads = heads_of(path);
  return path.find(".well-known") != std::string_view::npos || speaks_of_authentication(heads) ||
         has_word(heads, {"ping", "login*", "public"}) ||
         has_word(path, {"health", "healthz", "healthcheck*", "ready", "readyz", "readiness",
                         "live", "livez", "liveness", "acme", "robots", "favicon*", "static*",
                         "*assets", "*webhook*", "*callback*", "ico", "css"});
}

}  // namespace merlon::audit
