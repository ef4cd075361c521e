#include "audit/nginx/tls_versions.h"

#include <algorithm>
#include <array>

#include "base/ascii.h"

namespace merlon::audit::nginx {
namespace {

constexpr std::array<std::string_view, 4> kLegacy = {"SSLv2", "SSLv3", "TLSv1", "TLSv1.1"};

/// Carries out OpenSSL's `Protocol`, such as "-TLSv1.1, TLSv1": what it does not name stays as it
/// is.
void change_versions(const Directive& command, Legacy& out) {
  std::string_view rest = command.arg(1);
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(','), rest.size());
    std::string_view item = ascii::trim_ows(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const bool off = item.starts_with('-');
    if (off || item.starts_with('+')) item.remove_prefix(1);
    for (const std::string_view version : kLegacy) {
      if (!ascii::iequals(item, version) && !ascii::iequals(item, "ALL")) continue;
      const auto erased = std::erase(out.versions, version);
      if (off) continue;
      out.versions.push_back(version);
      if (erased == 0) out.by = &command;
    }
  }
}

}  // namespace

bool offers(const Directive& protocols, std::string_view version) {
  return std::ranges::any_of(protocols.args,
                             [&](const Word& word) { return word.text == version; });
}

Legacy legacy_of(const Scope& scope) {
  Legacy out;
  out.by = scope.effective("ssl_protocols");
  for (const std::string_view version : kLegacy) {
    if (out.by != nullptr && offers(*out.by, version)) out.versions.push_back(version);
  }
  std::string_view least;
  for (const Directive* command : scope.effective_all("ssl_conf_command")) {
    if (ascii::iequals(command->arg(0), "Protocol")) change_versions(*command, out);
    if (ascii::iequals(command->arg(0), "MinProtocol")) least = command->arg(1);
  }
  if (least == "TLSv1.2" || least == "TLSv1.3") out.versions.clear();
  const auto bound = std::ranges::find(kLegacy, least);
  std::erase_if(out.versions, [&](std::string_view version) {
    return bound != kLegacy.end() && std::ranges::find(kLegacy, version) < bound;
  });
  return out;
}

}  // namespace merlon::audit::nginx
