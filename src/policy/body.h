#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/schema.h"
#include "policy/compile.h"

namespace merlon::policy {

/// Larger bodies take a waiver of `body-size-unlimited`.
inline constexpr std::uint64_t kBodyBytesMax = 1024ULL * 1024 * 1024;

/// `body` of a route: what the body of a request must be.
struct BodyConfig {
  Located<std::uint64_t> max{.value = 1024 * 1024, .at = {}};
  Located<std::vector<Located<std::string>>> content_types;  ///< empty: any
  std::optional<Located<std::uint32_t>> json_depth;
  std::optional<Located<config::FilePath>> schema;
  Mark at;  ///< unknown when the block is absent
};

/// Validation, step 10. What the head shows is judged here: the type of a body and its coding. JSON
/// is judged as the body comes, by the rules of Policy::content, and the size is the gateway's to
/// watch, since bodies stream.
struct Body {
  using Config = BodyConfig;
  using Member = BodyConfig;
  static constexpr std::string_view kKey = "body";
  static constexpr std::string_view kDoc = "Requirements on request bodies.";
  static constexpr std::string_view kExample =
      "{ max: 64KiB, content_types: [application/json], json_depth: 32 }";
  static constexpr Step kStep = Step::kValidate;
  static constexpr bool kObservable = true;

  [[nodiscard]] static config::Type<BodyConfig> type();
  static void compile(const Member& config, CompileInput& input, Judges& out);
};

}  // namespace merlon::policy
