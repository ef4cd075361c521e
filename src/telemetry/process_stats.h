#pragma once

#include <cstdint>
#include <optional>

#include "io/fd.h"

namespace merlon::telemetry {

/// What the kernel says about this process. Opens its files in /proc once, so that it also works
/// behind a sandbox that was put up later. Not thread-safe.
class ProcessStats {
 public:
  ProcessStats();

  /// Memory in use; nullopt where /proc is not there.
  [[nodiscard]] std::optional<std::uint64_t> resident_bytes() const noexcept;
  /// Open file descriptors; nullopt where /proc is not there.
  [[nodiscard]] std::optional<std::uint64_t> open_fds() const noexcept;
  /// How many may be open (RLIMIT_NOFILE).
  [[nodiscard]] static std::uint64_t fds_max() noexcept;
  /// Processor time used, user and system.
  [[nodiscard]] static double cpu_seconds() noexcept;

 private:
  io::Fd memory_;
  io::Fd descriptors_;
};

}  // namespace merlon::telemetry
