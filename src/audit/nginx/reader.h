#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "audit/audit.h"
#include "audit/nginx/files.h"

namespace merlon::audit::nginx {

/// Reads one nginx configuration, or a fragment of one, and everything that it includes; runs the
/// rules over it and adds what there is to say to `out`.
///
/// `bases`: the folders that relative includes are tried in. `reached` gets the path of every file
/// that was read. `on_disk`: the files of this host may be looked at too (certificates, keys).
void audit_file(const std::shared_ptr<const Source>& main, const std::vector<std::string>& bases,
                FileReader& files, const Options& options, bool on_disk,
                std::set<std::string>& reached, AuditResult& out);

/// True when `text` is written in nginx's language: most of its statements are known directives.
/// True for a text of blanks and comments only.
[[nodiscard]] bool holds_nothing(std::string_view text);
[[nodiscard]] bool looks_like_nginx(std::string_view text);

}  // namespace merlon::audit::nginx
