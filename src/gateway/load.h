#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/diagnostics.h"
#include "base/time.h"
#include "config/tree.h"
#include "config/waivers.h"
#include "gateway/compile.h"
#include "gateway/config.h"
#include "gateway/plan.h"
#include "io/broker.h"
#include "tls/rotation.h"

/// A configuration file, from its name to the plan in force.
namespace merlon::gateway {

struct LoadResult {
  /// Set when there is no error: an error anywhere refuses the whole.
  std::shared_ptr<const Plan> plan;
  /// Everything there is to say, ordered by place: errors, warnings (waivers that end soon or have
  /// expired, certificates that closed their names) and notes (waivers in use).
  Diagnostics diagnostics;
  /// What was read, for `merlon show`. `config` is whole only with a plan; `tree` is null when the
  /// file is no YAML.
  std::shared_ptr<const config::Tree> tree;
  Config config;
  /// Those of the file, also without a plan.
  std::vector<config::Waiver> waivers;
  /// The files that the configuration names, each in the state in which it was just before it was
  /// read.
  tls::FileWatch::States files;
  /// The text of those that are not watched, by path: see `reload_files`.
  std::map<std::string, std::string> unwatched;
  /// Of the policy files, as the plan uses them, by path: they are in its hash.
  std::map<std::string, std::string> digests;
  ListenerPairs pairs;
  /// Of `reload_files` and of a start: what is wrong with files in whose place others stay, or that
  /// close what needs them, each as an error.
  std::vector<Diagnostic> bad_files;
};

/// What becomes of expired waivers and of TLS files that cannot be used.
struct LoadMode {
  config::ExpiryMode expiry;
  BadCertificate bad_certificate;
};
/// Of checks and reloads: both are errors.
inline constexpr LoadMode kStrict{.expiry = config::ExpiryMode::kRefuse,
                                  .bad_certificate = BadCertificate::kRefuse};
/// Of a start: they warn, and bad files close what needs them.
inline constexpr LoadMode kAtStart{.expiry = config::ExpiryMode::kWarn,
                                   .bad_certificate = BadCertificate::kClose};
/// Of a reload of the text that is in force: no date refuses it, but files that went bad do, so
/// that those in use stay.
inline constexpr LoadMode kUnchanged{.expiry = config::ExpiryMode::kWarn,
                                     .bad_certificate = BadCertificate::kRefuseUnfit};

/// Reads, judges and compiles the file at `path` with all that it includes; every error is
/// reported, not only the first. Blocks on files; never on a network. Relative names in the file
/// are relative to it.
[[nodiscard]] LoadResult load_plan(const std::string& path, io::Broker& broker, WallTime today,
                                   LoadMode mode);

/// As `load_plan`, for text that is there already; `name` stands for its path in messages and
/// relative names. Includes are refused: there is no directory that they could come from.
[[nodiscard]] LoadResult load_plan_text(const std::string& name, const std::string& text,
                                        io::Broker& broker, WallTime today, LoadMode mode);

/// Takes the files that `in_force` names as they are now, with its text as it was: what is being
/// edited waits for a reload. So do the files that are not watched. Each file that cannot be used,
/// and each certificate out of its dates, leaves what is in use and is told in `bad_files`: one
/// that is bad keeps no other from being renewed. `in_force` has a plan.
[[nodiscard]] LoadResult reload_files(const LoadResult& in_force, io::Broker& broker,
                                      WallTime today);

/// True when each certificate and revocation list of `fresh` that is out of its dates is one that
/// `in_force` has in use: it has ended since, where any other would be taken in place of a good
/// one. Both are of the same text and have a plan.
[[nodiscard]] bool only_those_in_use_ended(const LoadResult& fresh, const LoadResult& in_force,
                                           WallTime today);

}  // namespace merlon::gateway
