#include "base/diagnostics.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

namespace merlon {
namespace {

constexpr std::size_t kShownBytesMax = 160;  // one wide terminal line; longer ones are cut

std::string_view severity_color(Severity severity) {
  switch (severity) {
    case Severity::kNote:
      return "\033[1;36m";
    case Severity::kWarning:
      return "\033[1;33m";
    case Severity::kError:
      return "\033[1;31m";
  }
  return "";
}

/// Appends one byte so that a terminal shows it and does not obey it; returns the columns it took.
std::size_t append_visible(std::string& out, char c) {
  const auto byte = static_cast<unsigned char>(c);
  if (c == '\t') {
    out += ' ';
    return 1;
  }
  if (byte < 0x20 || byte == 0x7f) {
    fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
    return 4;
  }
  out += c;
  return (byte & 0xC0U) == 0x80 ? 0 : 1;  // UTF-8 continuation bytes share the column of their lead
}

/// The source line and, under it, the caret with its tail.
void append_excerpt(std::string& out, const Mark& at) {
  const std::string_view line = at.source->line(at.line);
  if (line.empty()) return;
  const std::size_t column = std::min<std::size_t>(at.column == 0 ? 0 : at.column - 1, line.size());
  const std::size_t from = column > kShownBytesMax / 2 ? column - kShownBytesMax / 2 : 0;
  const std::size_t to = std::min(line.size(), from + kShownBytesMax);
  const std::size_t mark_end = std::min(to, column + std::max<std::uint32_t>(at.length, 1));

  const std::string gutter = fmt::format("{:>5} | ", at.line);
  std::string shown;
  std::string under;
  if (from > 0) {
    shown += "...";
    under += "   ";
  }
  for (std::size_t i = from; i < to; ++i) {
    const std::size_t width = append_visible(shown, line[i]);
    under.append(width, i < column ? ' ' : (i == column ? '^' : (i < mark_end ? '~' : ' ')));
  }
  if (column >= to) under += '^';
  while (!under.empty() && under.back() == ' ') under.pop_back();
  // An escaped byte takes four columns; the caret is its first one.
  for (std::size_t i = under.find('^'); i != std::string::npos && i + 1 < under.size(); ++i) {
    if (under[i + 1] == '^') under[i + 1] = '~';
  }
  fmt::format_to(std::back_inserter(out), "{}{}{}\n{:>5} | {}\n", gutter, shown,
                 to < line.size() ? "..." : "", "", under);
}

}  // namespace

std::string_view severity_name(Severity severity) {
  switch (severity) {
    case Severity::kNote:
      return "note";
    case Severity::kWarning:
      return "warning";
    case Severity::kError:
      return "error";
  }
  return "error";
}

std::string_view Source::line(std::uint32_t number) const noexcept {
  std::string_view rest = text;
  for (std::uint32_t i = 1; i < number; ++i) {
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) return {};
    rest.remove_prefix(end + 1);
  }
  rest = rest.substr(0, rest.find('\n'));
  if (!rest.empty() && rest.back() == '\r') rest.remove_suffix(1);
  return rest;
}

std::string Mark::to_string() const {
  if (!known()) return {};
  return column == 0 ? file_line() : fmt::format("{}:{}:{}", source->path, line, column);
}

std::string Mark::file_line() const {
  if (!known()) return {};
  const fmt::format_int digits(line);  // each refusal is told with its line
  std::string text = source->path;
  return text.append(1, ':').append(digits.data(), digits.size());
}

void Diagnostics::add(Diagnostic diagnostic) {
  if (diagnostic.severity == Severity::kError) ++errors_;
  all_.push_back(std::move(diagnostic));
}

void Diagnostics::error(const Mark& at, std::string message, std::string help) {
  add({.severity = Severity::kError,
       .at = at,
       .message = std::move(message),
       .help = std::move(help),
       .rule = {}});
}

void Diagnostics::warning(const Mark& at, std::string message, std::string help) {
  add({.severity = Severity::kWarning,
       .at = at,
       .message = std::move(message),
       .help = std::move(help),
       .rule = {}});
}

void Diagnostics::note(const Mark& at, std::string message, std::string help) {
  add({.severity = Severity::kNote,
       .at = at,
       .message = std::move(message),
       .help = std::move(help),
       .rule = {}});
}

void Diagnostics::sort() {
  // Their first order breaks ties (libstdc++ 12's stable_sort does not compile without warnings).
  std::vector<std::size_t> order(all_.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto key = [&](std::size_t i) {
    const Mark& at = all_[i].at;
    return std::make_tuple(!at.known(), at.known() ? std::string_view(at.source->path) : "",
                           at.line, at.column, i);
  };
  std::ranges::sort(order, {}, key);
  std::vector<Diagnostic> sorted;
  sorted.reserve(all_.size());
  for (const std::size_t i : order) sorted.push_back(std::move(all_[i]));
  all_ = std::move(sorted);
}

std::string Diagnostics::render(bool color) const {
  std::string out;
  for (const Diagnostic& d : all_) {
    if (d.at.known()) fmt::format_to(std::back_inserter(out), "{}: ", d.at.to_string());
    fmt::format_to(std::back_inserter(out), "{}{}:{} {}", color ? severity_color(d.severity) : "",
                   severity_name(d.severity), color ? "\033[0m" : "", d.message);
    if (!d.rule.empty()) fmt::format_to(std::back_inserter(out), " [{}]", d.rule);
    out += '\n';
    if (d.at.known()) append_excerpt(out, d.at);
    if (!d.help.empty()) fmt::format_to(std::back_inserter(out), "      = help: {}\n", d.help);
  }
  return out;
}

std::string_view nearest(std::string_view word, const std::vector<std::string_view>& candidates,
                         std::size_t distance_max) {
  std::string_view best;
  const std::size_t by_length = std::max<std::size_t>(1, word.size() / 3);
  std::size_t best_distance = std::min(by_length, distance_max) + 1;
  std::vector<std::size_t> row;
  for (const std::string_view candidate : candidates) {
    row.resize(candidate.size() + 1);
    for (std::size_t j = 0; j < row.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= word.size(); ++i) {
      std::size_t diagonal = std::exchange(row[0], i);
      for (std::size_t j = 1; j < row.size(); ++j) {
        const std::size_t replaced = diagonal + (word[i - 1] == candidate[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

}  // namespace merlon
