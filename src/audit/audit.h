#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "audit/finding.h"

namespace merlon::audit {

/// How an audit is made. The bounds keep memory and time finite on hostile input.
struct Options {
  Kind kind = Kind::kUnknown;  ///< kUnknown: found out per input
  bool strict = false;         ///< also asks for 256-bit AEAD (TLS-19) and authentication (JWT-01)
  std::vector<std::string> only_rules;   ///< ids or slugs; empty: all
  std::string baseline_path;             ///< findings listed there are marked, not counted
  std::vector<std::string> allow_roots;  ///< folders outside of the inputs that includes may reach
  std::int64_t now = 0;                  ///< seconds since 1970 UTC; 0: the system's clock
  std::uint64_t file_bytes_max = std::uint64_t{16} << 20;
  std::uint64_t total_bytes_max = std::uint64_t{64} << 20;
  std::uint32_t files_max = 20'000;
  std::uint32_t includes_max = 10'000;
  std::uint32_t depth_max = 64;  ///< of blocks, and of includes within includes
  std::uint32_t findings_max = 10'000;
};

/// Reads `paths` (files or folders; "-" is standard input) and judges them by every rule. Executes
/// nothing, follows no symbolic link out of the given trees, throws nothing on any input: what
/// cannot be read becomes a gap and a CFG-01 finding. Not for the request path.
[[nodiscard]] AuditResult audit(const std::vector<std::string>& paths, const Options& options = {});

/// The same for one text in memory (tests, fuzzing, standard input); `path` names it in findings.
/// Includes are not followed on disk.
[[nodiscard]] AuditResult audit_text(std::string path, std::string text,
                                     const Options& options = {});

/// What `text` is written in, by its contents first and the file name second.
[[nodiscard]] Kind detect_kind(std::string_view path, std::string_view text);

/// 0 clean, 1 findings at or above `fail_on`, 3 something could not be read. 3 wins over 1: a
/// verdict over a gap would be a guess. (2, usage, is the command line's.)
[[nodiscard]] int exit_code(const AuditResult& result, Level fail_on) noexcept;

/// One finding a line: "file:line:column: level RULE message". Control characters are escaped.
[[nodiscard]] std::string render_lines(const AuditResult& result);

}  // namespace merlon::audit
