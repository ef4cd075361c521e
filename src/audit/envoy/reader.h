#pragma once

#include <memory>
#include <set>
#include <string>

#include "audit/audit.h"
#include "audit/nginx/files.h"

namespace merlon::audit::envoy {

/// Reads one Envoy configuration (bootstrap, list of resources, single resource, ConfigMap that
/// holds one; YAML or JSON) and the xDS files that it names; runs the rules over all of it and adds
/// what there is to say to `out`.
///
/// `folder`: where files that it names are looked up, also those with a path of another host.
/// `reached` gets the path of every file that was read. `on_disk`: files may be looked at at all.
void audit_file(const std::shared_ptr<const Source>& main, const std::string& folder,
                FileReader& files, const Options& options, bool on_disk,
                std::set<std::string>& reached, AuditResult& out);

/// True when `text` is written as Envoy's configuration; looks at words, parses nothing.
[[nodiscard]] bool looks_like_envoy(std::string_view text);
/// True when it is a bootstrap, which other files of its folder may be a part of.
[[nodiscard]] bool looks_like_bootstrap(std::string_view text);

}  // namespace merlon::audit::envoy
