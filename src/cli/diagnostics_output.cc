#include "cli/diagnostics_output.h"

#include <cerrno>
#include <cstdio>
#include <system_error>

#include "base/escape.h"

namespace merlon::cli {
namespace {

void add_text(std::string& out, std::string_view key, std::string_view value) {
  if (value.empty()) return;
  out += ", " + json_quoted(key) + ": " + json_quoted(value);
}

}  // namespace

std::string diagnostics_json(const Diagnostics& diagnostics) {
  std::string out = "[";
  for (const Diagnostic& d : diagnostics.all()) {
    if (out.size() > 1) out += ",";
    out += "\n    {\"severity\": " + json_quoted(severity_name(d.severity));
    add_text(out, "message", d.message);
    if (d.at.known()) {
      add_text(out, "file", d.at.source->path);
      out += ", \"line\": " + std::to_string(d.at.line);
      out += ", \"column\": " + std::to_string(d.at.column);
    }
    add_text(out, "rule", d.rule);
    add_text(out, "help", d.help);
    out += "}";
  }
  return out.size() > 1 ? out + "\n  ]" : out + "]";
}

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) < text.size())
    throw std::system_error(errno, std::generic_category(), "standard output could not be written");
}

}  // namespace merlon::cli
