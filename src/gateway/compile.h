#pragma once

#include <memory>

#include "base/time.h"
#include "config/schema.h"
#include "config/tree.h"
#include "gateway/config.h"
#include "gateway/plan.h"
#include "io/broker.h"

/// From what was read to what is served: resolves names, judges the whole and the baseline.
namespace merlon::gateway {

/// What TLS files that cannot be used do: a check and a reload refuse them; a start closes the
/// names of the certificate, or the routes of the upstream, and says so, since one bad file must
/// not keep a node down.
enum class BadCertificate : std::uint8_t { kRefuse, kClose };

struct CompileContext {
  config::Reader& reader;    ///< with the waivers; errors go to its diagnostics
  const config::Node& root;  ///< what `config` was read from, also the parts that did not read
  io::Broker& broker;        ///< opens certificates and keys
  WallTime now;
  BadCertificate bad_certificate;
};

/// Compiles what could be read of `config`; when parts of it could not, so that all errors come out
/// at once. The plan is whole only when no error was reported; `hash` and `path` are the caller's.
[[nodiscard]] std::shared_ptr<Plan> compile(const Config& config, CompileContext& context);

}  // namespace merlon::gateway
