#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "config/schema.h"
#include "policy/compile.h"

namespace merlon::policy {

/// `cors` of a route: which pages of other origins may use it (Fetch §3.2).
struct CorsConfig {
  Located<std::vector<Located<std::string>>> origins;
  Located<std::vector<Located<std::string>>> methods;  ///< empty: those of the route
  Located<std::vector<Located<std::string>>> headers;
  std::vector<Located<std::string>> expose;
  Located<bool> credentials;
  std::optional<Located<milliseconds>> max_age;  ///< absent: the browser's own, seconds
  Mark at;
};

/// Cross-origin resource sharing, step 6: answers preflights, ends requests of foreign origins and
/// lets pages of the listed origins read what comes back, refusals further on included.
///
/// An origin is allowed when it is listed, byte for byte; `null` never is. A request of the route's
/// own origin is not cross-origin and none of its business, nor is one without Origin.
struct Cors {
  using Config = CorsConfig;
  using Member = std::optional<CorsConfig>;
  static constexpr std::string_view kKey = "cors";
  static constexpr std::string_view kDoc =
      "Which pages of other origins may use it; without it none may.";
  static constexpr std::string_view kExample =
      "{ origins: [https://app.example.com], headers: [authorization], max_age: 10min }";
  static constexpr Step kStep = Step::kCors;
  static constexpr bool kObservable = true;

  [[nodiscard]] static config::Type<CorsConfig> type();
  static void compile(const Member& config, CompileInput& input, Judges& out);
};

/// What is wrong with an origin as it is listed, or "". `*` and `null` pass: rules judge them.
[[nodiscard]] std::string problem_of_origin(std::string_view text);

}  // namespace merlon::policy
