#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>

#include "audit/envoy/rules.h"
#include "audit/file_mode.h"
#include "audit/password.h"
#include "base/ascii.h"
#include "base/base64.h"

// How well secrets are kept: passwords that everyone tries, files that everyone reads or writes,
// and answers whose length tells.
namespace merlon::audit::envoy {
namespace {

/// Judges the users of basic_auth, of the filter or of a route's own configuration of it.
void judge_passwords(Inspection& in, const Message& users, std::vector<std::string> affected) {
  const char* const key = users.has("inline_bytes") ? "inline_bytes" : "inline_string";
  std::string text(users.text(key));
  if (users.has("inline_bytes")) text = base64_decode(text).value_or("");
  for_each_password(text, [&](std::string_view user, std::string_view field) {
    if (well_known_password(user, field).empty()) return;
    Finding& finding =
        in.report("EXP-04", Level::kCritical, users.at(key),
                  fmt::format("the password of {} is one that is tried first", user));
    finding.hide_source = true;
    finding.affected = affected;
  });
}

void check_default_passwords(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    for (const Filter& filter : hcm.filters) {
      if (!filter.is("basic_auth")) continue;
      judge_passwords(in, filter.config.message("users"), labels(hcm));
      std::set<const Node*> judged;  // what a virtual host says holds for all its routes
      for (const Route* route : hcm.all_routes()) {
        const Message own = override_of(*route, filter).config.message("users");
        if (own && judged.insert(own.node()).second) judge_passwords(in, own, {route->label()});
      }
    }
  }
}

/// Fields of a request that a client writes, in a format that escapes nothing.
bool holds_client_text(std::string_view format) {
  std::string low(format);
  std::ranges::transform(low, low.begin(), ascii::lower);
  return low.find("%req(user-agent") != std::string::npos ||
         low.find("%req(referer") != std::string::npos ||
         low.find("%req(:path") != std::string::npos;
}

void each_log(const Inspection& in, auto&& visit) {
  for (const Hcm& hcm : in.model.hcms) {
    for (const Node& one : hcm.at.list("access_log")) visit(typed_config(Message(one)).config);
  }
}

void check_text_logs(Inspection& in) {
  each_log(in, [&](const Message& config) {
    const Message format = config.message("log_format");
    const std::string_view own = format.has("text_format")
                                     ? format.text("text_format")
                                     : format.path("text_format_source").text("inline_string");
    if (own.empty() || !holds_client_text(own)) return;
    in.report("LOG-05", Level::kInfo,
              format.at(format.has("text_format") ? "text_format" : "text_format_source"),
              "a client can write quotes and made-up fields into a text log: expected json_format");
  });
}

void check_log_modes(Inspection& in) {
  if (!in.on_disk) return;
  each_log(in, [&](const Message& config) {
    const std::string path(config.text("path"));
    struct stat about{};
    if (!path.starts_with("/var/") || ::stat(path.c_str(), &about) != 0) return;
    if (!S_ISREG(about.st_mode) || (about.st_mode & S_IROTH) == 0) return;
    in.report("LOG-06", Level::kLow, config.at("path"),
              fmt::format("everyone on this host may read {} (mode {:04o}): expected 0640", path,
                          about.st_mode & 07777));
  });
}

void check_writable(Inspection& in) {
  if (!in.on_disk) return;
  for (const auto& source : in.out.sources) {
    const unsigned mode = mode_open_to_all(source->path);
    if (mode == 0) continue;
    in.report("SYS-02", Level::kHigh, Mark{source, 1, 1, 1},
              fmt::format("everyone may write {} (mode {:04o}): expected 0644 or narrower",
                          source->path, mode));
  }
}

/// BREACH: a remark, where answers to users that are signed in are compressed.
void check_compression(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    const Filter* compressor = hcm.find("compressor");
    if (compressor == nullptr || hcm.chain->tls == nullptr || !is_edge(hcm)) continue;
    if (!has_access_control(hcm)) continue;
    in.report("TLS-09", Level::kInfo, compressor->at.at(),
              "answers to authenticated requests are compressed: where they repeat what a request "
              "held, their length gives secrets in them away")
        .affected = labels(hcm);
  }
}

constexpr RuleEntry kRules[] = {{"EXP-04", check_default_passwords},
                                {"LOG-05", check_text_logs},
                                {"LOG-06", check_log_modes},
                                {"SYS-02", check_writable},
                                {"TLS-09", check_compression}};

}  // namespace

std::span<const RuleEntry> secret_rules() { return kRules; }

}  // namespace merlon::audit::envoy
