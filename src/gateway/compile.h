#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/time.h"
#include "config/schema.h"
#include "config/tree.h"
#include "gateway/config.h"
#include "gateway/plan.h"
#include "io/broker.h"
#include "tls/certificates.h"

/// From what was read to what is served: resolves names, judges the whole and the baseline.
namespace merlon::gateway {

/// What files of certificates and keys that cannot be used do: a check and a reload refuse them; a
/// start closes the names of the certificate, or the routes of the upstream, and says so, since one
/// bad file must not keep a node down. What only ran out of its dates refuses a check and a changed
/// text (`kRefuse`), not the text that is in force (`kRefuseUnfit`). Where only files changed, each
/// that cannot be used, or is out of its dates, leaves what is in use (`kKeep`).
enum class BadCertificate : std::uint8_t { kRefuse, kRefuseUnfit, kClose, kKeep };

/// The certificates of each listener, by its name.
using ListenerPairs =
    std::map<std::string, std::vector<std::shared_ptr<const tls::CertificatePair>>, std::less<>>;

struct CompileContext {
  config::Reader& reader;    ///< with the waivers; errors go to its diagnostics
  const config::Node& root;  ///< what `config` was read from, also the parts that did not read
  io::Broker& broker;        ///< opens certificates and keys
  WallTime now;
  BadCertificate bad_certificate;
  const Plan* in_force = nullptr;  ///< for kKeep: what stays; of the same text
  ListenerPairs pairs_in_force{};  ///< of `in_force`
  ListenerPairs pairs{};           ///< of the plan that is made
  /// What was wrong with files under kKeep and kClose, each as an error.
  std::vector<Diagnostic> bad_files{};

  /// Bad files warn, whatever else they do.
  [[nodiscard]] bool goes_on() const noexcept {
    return bad_certificate == BadCertificate::kClose || bad_certificate == BadCertificate::kKeep;
  }
};

/// Compiles what could be read of `config`; when parts of it could not, so that all errors come out
/// at once. The plan is whole only when no error was reported; `hash` and `path` are the caller's.
[[nodiscard]] std::shared_ptr<Plan> compile(const Config& config, CompileContext& context);

}  // namespace merlon::gateway
