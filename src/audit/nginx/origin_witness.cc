#include "audit/nginx/origin_witness.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "audit/nginx/pattern.h"
#include "base/ascii.h"

namespace merlon::audit::nginx {
namespace {

/// The part of a host that is bought: its last two labels.
std::string registrable(std::string_view host) {
  host = host.substr(0, host.find_first_of(":/"));
  const std::size_t last = host.rfind('.');
  if (last == std::string_view::npos) return std::string(host);
  const std::size_t before = host.substr(0, last).rfind('.');
  return std::string(before == std::string_view::npos ? host : host.substr(before + 1));
}

std::string_view host_of(std::string_view origin) {
  const std::size_t scheme = origin.find("://");
  return scheme == std::string_view::npos ? origin : origin.substr(scheme + 3);
}

bool is_host(std::string_view host) {
  if (host.empty() || host.front() == '.' || host.front() == '-') return false;
  return std::ranges::all_of(host, [](char c) {
    return ascii::is_alnum(c) || c == '.' || c == '-' || c == ':' || c == '_';
  });
}

/// "example.com" out of a text that the pattern matches: what looks like a host in it.
std::string intended_host(std::string_view sample) {
  std::string_view host = host_of(sample);
  while (!host.empty() && !ascii::is_alnum(host.front())) host.remove_prefix(1);
  host = host.substr(0, host.find_first_of(":/?#\\"));
  while (!host.empty() && !ascii::is_alnum(host.back())) host.remove_suffix(1);
  return std::string(host);
}

struct Try {
  std::string origin;
  const char* why;
};

/// What an attacker could register instead of `host`, which the pattern means.
std::vector<Try> tries_of(const std::string& host) {
  constexpr const char* kOpenEnd = "is not anchored at its end";
  constexpr const char* kOpenStart = "does not end the name before it with a dot";
  const std::string mine = registrable(host);
  std::vector<Try> tries;
  for (const char* scheme : {"https://", "http://"}) {
    tries.push_back({fmt::format("{}{}.attacker.test", scheme, host), kOpenEnd});
    tries.push_back({fmt::format("{}www.{}.attacker.test", scheme, host), kOpenEnd});
    tries.push_back({fmt::format("{}attacker{}", scheme, host), kOpenStart});
    tries.push_back({fmt::format("{}attacker-{}", scheme, host), kOpenStart});
    tries.push_back({fmt::format("{}attacker{}", scheme, mine), kOpenStart});
    tries.push_back({fmt::format("{}{}attacker.test", scheme, host), kOpenEnd});
    tries.push_back({fmt::format("{}{}.attacker.test:8443", scheme, host), kOpenEnd});
  }
  return tries;
}

/// An unescaped dot takes any letter: one with another letter in its place is another name. One
/// dot at a time, for the others have to stay what makes it a host.
void add_swapped(const Pattern& pattern, std::size_t alternative, const std::string& host,
                 std::vector<Try>& tries) {
  constexpr std::size_t kDotsMax = 8;
  if (!pattern.has_loose_dot()) return;
  for (std::size_t dot = 0; dot < kDotsMax; ++dot) {
    const std::string swapped = intended_host(pattern.sample_with(alternative, dot));
    if (swapped == host || swapped.empty()) continue;
    for (const char* scheme : {"https://", "http://"}) {
      tries.push_back({scheme + swapped, "has a dot that is not escaped and matches any letter"});
      tries.push_back({scheme + ("a" + swapped.substr(1)),
                       "has a dot that is not escaped and matches any letter"});
    }
  }
}

/// What the pattern lets through beside the host that stands in one of its alternatives.
Witness witness_beside(const Pattern& pattern, std::size_t alternative, bool https_meant) {
  const auto matches = [&](const std::string& origin) {
    return pattern.search(origin).value_or(false);
  };
  const std::string host = intended_host(pattern.sample_with(alternative));
  if (host.empty() || host.find('.') == std::string::npos) {
    // Nothing of a host in it: does it let any origin through?
    const bool any = matches("https://attacker.test") && matches("https://another.invalid");
    if (any) return {"https://attacker.test", "matches any origin", false};
    return {};
  }
  const std::string mine = registrable(host);
  std::vector<Try> tries = tries_of(host);
  add_swapped(pattern, alternative, host, tries);
  const std::string top = host.substr(host.rfind('.'));
  for (const Try& one : tries) {
    const std::string_view other = host_of(one.origin);
    if (!is_host(other) || !matches(one.origin)) continue;
    const std::string theirs = registrable(other);
    const bool real = theirs.ends_with(".test") || theirs.ends_with(top);
    if (theirs != mine && real && theirs.find('.') != std::string::npos) {
      return {one.origin, one.why, false};
    }
  }
  if (!https_meant || host == "localhost") return {};
  for (const std::string& clear : {"http://" + host, "http://www." + host}) {
    if (matches(clear)) return {clear, "", true};
  }
  return {};
}

}  // namespace

Witness find_witness(std::string_view regex, bool ignore_case) {
  constexpr std::size_t kAlternativesMax = 8;
  const Pattern pattern(regex, ignore_case);
  if (!pattern.ok()) return {};
  const bool https_meant = regex.find("https") != std::string_view::npos;
  Witness in_clear;
  std::string last;
  for (std::size_t alternative = 0; alternative < kAlternativesMax; ++alternative) {
    std::string sample = pattern.sample_with(alternative);
    if (alternative > 0 && sample == last) break;
    last = std::move(sample);
    Witness found = witness_beside(pattern, alternative, https_meant);
    if (!found.origin.empty() && !found.only_scheme) return found;
    if (in_clear.origin.empty()) in_clear = std::move(found);
  }
  return in_clear;
}

}  // namespace merlon::audit::nginx
