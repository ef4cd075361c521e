#include "audit/nginx/directives.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <unordered_map>

#include "audit/nginx/arguments.h"
#include "base/ascii.h"

namespace merlon::audit::nginx {
namespace {

constexpr std::uint32_t context_of(char letter) {
  switch (letter) {
    case 'M':
      return kMain;
    case 'E':
      return kEvents;
    case 'H':
      return kHttp;
    case 'S':
      return kServer;
    case 'L':
      return kLocation;
    case 'U':
      return kUpstream;
    case 'I':
      return kIfInServer;
    case 'F':
      return kIfInLocation;
    case 'X':
      return kLimitExcept;
    case 't':
      return kStream;
    case 's':
      return kStreamServer;
    case 'u':
      return kStreamUpstream;
    case 'm':
      return kMail;
    case 'v':
      return kMailServer;
    default:
      return ~0U;
  }
}

constexpr std::uint32_t contexts_of(std::string_view letters) {
  std::uint32_t out = 0;
  for (const char letter : letters) out |= context_of(letter);
  return out;
}

constexpr Known kDirectives[] = {
#define NGINX_DIRECTIVE(name, contexts, min, max, flags, slot, values, origin) \
  {name,                                                                       \
   contexts_of(contexts),                                                      \
   min,                                                                        \
   max,                                                                        \
   std::string_view(flags).find('b') != std::string_view::npos,                \
   slot,                                                                       \
   values,                                                                     \
   (origin) == '3'},
#include "audit/nginx/directives.def"
#undef NGINX_DIRECTIVE
};

struct ByName {
  bool operator()(const Known& a, std::string_view b) const { return a.name < b; }
  bool operator()(std::string_view a, const Known& b) const { return a < b.name; }
};

using Table = std::unordered_map<std::string_view, std::span<const Known>>;

const Table& table() {
  static const Table kTable = [] {
    Table made;
    const std::span<const Known> all(kDirectives);
    for (std::size_t i = 0; i < all.size();) {
      std::size_t end = i + 1;
      while (end < all.size() && all[end].name == all[i].name) ++end;
      made.emplace(all[i].name, all.subspan(i, end - i));
      i = end;
    }
    return made;
  }();
  return kTable;
}

/// Where a block directive leads, whatever it stands in; kNowhere for one that has no block.
std::uint32_t inside_by_name(std::string_view name, std::uint32_t outer) {
  const bool stream = (outer & (kStream | kStreamServer)) != 0;
  const bool mail = (outer & (kMail | kMailServer)) != 0;
  if (name == "http") return kHttp;
  if (name == "events") return kEvents;
  if (name == "stream") return kStream;
  if (name == "mail") return kMail;
  if (name == "server") return stream ? kStreamServer : mail ? kMailServer : kServer;
  if (name == "location") return kLocation;
  if (name == "upstream") return stream ? kStreamUpstream : kUpstream;
  if (name == "limit_except") return kLimitExcept;
  if (name == "if") {
    return (outer & (kLocation | kIfInLocation)) != 0 ? kIfInLocation : kIfInServer;
  }
  constexpr std::array<std::string_view, 8> kDataBlocks = {
      "types", "map", "geo", "split_clients", "match", "geoip2", "charset_map", "oidc_provider"};
  return std::ranges::find(kDataBlocks, name) != kDataBlocks.end() ? kData : kOpaque;
}

std::string_view describe(std::uint32_t context) {
  switch (context) {
    case kMain:
      return "outside of any block";
    case kEvents:
      return "in events";
    case kHttp:
      return "in http";
    case kServer:
      return "in server";
    case kLocation:
      return "in location";
    case kUpstream:
      return "in upstream";
    case kIfInServer:
      return "in if in server";
    case kIfInLocation:
      return "in if in location";
    case kLimitExcept:
      return "in limit_except";
    case kStream:
      return "in stream";
    case kStreamServer:
      return "in server of stream";
    case kStreamUpstream:
      return "in upstream of stream";
    case kMail:
      return "in mail";
    case kMailServer:
      return "in server of mail";
    default:
      return "here";
  }
}

bool holds_word(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    const std::size_t end = std::min(list.find(' '), list.size());
    if (ascii::iequals(list.substr(0, end), word)) return true;
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return false;
}

/// Values that came after the version the table was taken from.
bool is_later_value(std::string_view directive, std::string_view value) {
  return directive == "proxy_http_version" && value == "2";
}

std::string bad_value(const Known& row, const Directive& directive) {
  const std::string_view value = directive.arg(0);
  if (value.find('$') != std::string_view::npos) return {};
  std::uint64_t number = 0;
  switch (row.slot) {
    case 'f':
      if (ascii::iequals(value, "on") || ascii::iequals(value, "off")) return {};
      return fmt::format("\"{}\" takes \"on\" or \"off\", not \"{}\"", row.name, value);
    case 'n':
      if (!value.empty() && std::ranges::all_of(value, ascii::is_digit)) return {};
      return fmt::format("\"{}\" takes a number, not \"{}\"", row.name, value);
    case 'z':
    case 'o':
      if (parse_size(value, number)) return {};
      return fmt::format("\"{}\" takes a size such as 8k or 1m, not \"{}\"", row.name, value);
    case 'm':
    case 'c':
      if (parse_time(value, number)) return {};
      return fmt::format("\"{}\" takes a time such as 60s, not \"{}\"", row.name, value);
    case 'e':
    case 'k':
      for (const Word& word : directive.args) {
        if (row.values.empty() || holds_word(row.values, word.text)) continue;
        if (is_later_value(row.name, word.text)) continue;
        return fmt::format("\"{}\" takes {}{}, not \"{}\"", row.name,
                           row.slot == 'k' ? "some of: " : "one of: ", row.values, word.text);
      }
      return {};
    default:
      return {};
  }
}

/// Directives that nginx parses by functions of their own and takes once in a block only.
constexpr std::string_view kOnce[] = {"root",
                                      "alias",
                                      "auth_basic",
                                      "auth_basic_user_file",
                                      "proxy_pass",
                                      "fastcgi_pass",
                                      "uwsgi_pass",
                                      "scgi_pass",
                                      "grpc_pass",
                                      "memcached_pass",
                                      "limit_rate",
                                      "try_files",
                                      "auth_request",
                                      "proxy_cache",
                                      "proxy_cache_key",
                                      "expires",
                                      "resolver",
                                      "limit_rate_after",
                                      "keepalive_timeout",
                                      "fastcgi_cache",
                                      "proxy_store",
                                      "open_file_cache",
                                      "aio",
                                      "directio",
                                      "charset",
                                      "proxy_bind",
                                      "slice",
                                      "disable_symlinks",
                                      "user",
                                      "worker_processes",
                                      "random_index",
                                      "secure_link_secret"};

/// Why a word can be the name of no directive, of whatever module: what stands there swallows the
/// words up to the next semicolon. "" when it can.
std::string no_name(std::string_view word) {
  constexpr std::size_t kShownMax = 64;
  const auto fits = [](char c) { return ascii::is_alnum(c) || c == '_'; };
  if (!word.empty() && std::ranges::all_of(word, fits)) return {};
  const std::string_view shown = word.substr(0, kShownMax);
  const bool percent = word.size() > 4 && word.starts_with("%%") && word.ends_with("%%");
  if (percent || word.starts_with("${")) {
    return fmt::format("it is a template (by its \"{}\"): render it, then audit what comes out",
                       shown);
  }
  return fmt::format("\"{}\" is no directive: their names are made of letters, digits and \"_\"",
                     shown);
}

class Checker {
 public:
  Checker(Tree& tree, std::vector<std::string_view>& unknown) : tree_(tree), unknown_(unknown) {}

  void body(Directive& block) {
    std::map<std::string_view, const Directive*> single;
    for (Directive* directive : block.body) {
      if (directive->is_block) directive->inside = context_inside(block.inside, *directive);
      if (block.inside == kData || block.inside == kOpaque) continue;
      judge(block, *directive, single);
    }
    for (Directive* directive : block.body) {
      if (directive->is_block) body(*directive);
    }
  }

 private:
  void refuse(const Directive& directive, std::string what) {
    if (tree_.problems.size() >= SyntaxLimits{}.problems_max) return;
    tree_.problems.push_back(
        {Problem::Kind::kMeaning, directive.mark(), std::move(what), &directive});
  }

  void judge(const Directive& block, Directive& directive,
             std::map<std::string_view, const Directive*>& single) {
    const std::string_view name = directive.name.text;
    const std::span<const Known> rows = lookup(name);
    if (rows.empty()) return judge_unknown(directive);
    const Known* fits = nullptr;
    bool in_context = false;
    bool same_form = false;
    for (const Known& row : rows) {
      if ((row.contexts & block.inside) == 0) continue;
      in_context = true;
      if (row.takes_block != directive.is_block) continue;
      same_form = true;
      const std::size_t count = directive.args.size();
      if (count >= row.args_min && (row.args_max == 255 || count <= row.args_max)) fits = &row;
    }
    if (!in_context) {
      // Modules of others gain contexts with each version (lua in http and in stream).
      if (std::ranges::all_of(rows, &Known::third_party)) {
        directive.known = true;
        return;
      }
      return refuse(directive,
                    fmt::format("\"{}\" is not allowed {}", name, describe(block.inside)));
    }
    if (!same_form) {
      directive.refused = true;
      return refuse(directive, directive.is_block
                                   ? fmt::format("\"{}\" takes no block", name)
                                   : fmt::format("\"{}\" has no opening \"{{\"", name));
    }
    directive.known = true;
    if (fits == nullptr) {
      directive.refused = true;
      return refuse(directive,
                    fmt::format("\"{}\" does not take {} argument{}", name, directive.args.size(),
                                directive.args.size() == 1 ? "" : "s"));
    }
    std::string why = bad_value(*fits, directive);
    if (why.empty()) why = refused_arguments(directive);
    if (!why.empty()) return refuse(directive, std::move(why));
    judge_duplicate(*fits, directive, single);
  }

  void judge_duplicate(const Known& row, const Directive& directive,
                       std::map<std::string_view, const Directive*>& single) {
    constexpr std::string_view kSingle = "fsnzomcbep";
    const bool once = kSingle.find(row.slot) != std::string_view::npos ||
                      std::ranges::find(kOnce, row.name) != std::end(kOnce);
    if (row.third_party || !once) return;
    const std::string_view name = row.name == "alias" ? "root" : row.name;  // either, once
    const auto [found, added] = single.emplace(name, &directive);
    if (added) return;
    refuse(directive, fmt::format("\"{}\" is a duplicate of the one on {}", row.name,
                                  found->second->mark().file_line()));
  }

  void judge_unknown(const Directive& directive) {
    if (std::string why = no_name(directive.name.text); !why.empty()) {
      return refuse(directive, std::move(why));
    }
    unknown_.push_back(directive.name.text);
    const std::string_view near = nearest_directive(directive.name.text);
    if (near.empty()) return;
    refuse(directive,
           fmt::format("unknown directive \"{}\": is \"{}\" meant?", directive.name.text, near));
  }

  Tree& tree_;
  std::vector<std::string_view>& unknown_;
};

}  // namespace

std::span<const Known> lookup(std::string_view name) noexcept {
  const Table& all = table();
  const auto found = all.find(name);
  return found == all.end() ? std::span<const Known>{} : found->second;
}

bool is_known(std::string_view name) noexcept { return !lookup(name).empty(); }

bool takes_arguments(std::string_view name, std::size_t count) noexcept {
  const std::span<const Known> rows = lookup(name);
  return rows.empty() || std::ranges::any_of(rows, [&](const Known& row) {
           return count >= row.args_min && (row.args_max == 255 || count <= row.args_max);
         });
}

std::uint32_t context_inside(std::uint32_t outer, const Directive& directive) noexcept {
  if (outer == kData || outer == kOpaque) return kOpaque;
  return inside_by_name(directive.name.text, outer);
}

std::string_view nearest_directive(std::string_view name) {
  constexpr std::size_t kLengthMin = 5;  // shorter words are too near to each other
  if (name.size() < kLengthMin || name.size() > 64) return {};
  std::vector<std::string_view> near;
  for (const Known& row : kDirectives) {
    if (row.third_party || row.name.front() != name.front()) continue;
    const std::size_t gap =
        std::max(row.name.size(), name.size()) - std::min(row.name.size(), name.size());
    if (gap <= 1) near.push_back(row.name);
  }
  const std::string_view found = merlon::nearest(name, near);
  if (found.empty()) return {};
  // One slip of the keyboard, no more: modules of others have names of their own.
  std::size_t front = 0;
  while (front < std::min(found.size(), name.size()) && found[front] == name[front]) ++front;
  std::size_t back = 0;
  while (back < std::min(found.size(), name.size()) - front &&
         found[found.size() - 1 - back] == name[name.size() - 1 - back]) {
    ++back;
  }
  const std::size_t differing = std::max(found.size(), name.size()) - front - back;
  return differing <= 2 ? found : std::string_view{};
}

std::uint32_t guess_frame(const Tree& tree) {
  constexpr std::array kFrames = {kMain,   kHttp,         kServer, kLocation,   kUpstream,
                                  kStream, kStreamServer, kMail,   kMailServer, kEvents};
  std::size_t known = 0;
  std::array<std::size_t, kFrames.size()> score{};
  for (const Directive* directive : tree.root.body) {
    const std::span<const Known> rows = lookup(directive->name.text);
    if (!rows.empty()) ++known;
    for (std::size_t i = 0; i < kFrames.size(); ++i) {
      score[i] += std::ranges::any_of(rows, [&](const Known& row) {
        return (row.contexts & kFrames[i]) != 0 && row.takes_block == directive->is_block;
      });
    }
  }
  if (tree.root.body.empty()) return kHttp;
  if (known * 2 < tree.root.body.size()) return kNowhere;
  // A server block whose proxy_pass is its own, not a location's, belongs to stream.
  for (const Directive* directive : tree.root.body) {
    if (!directive->is("server") || !directive->is_block) continue;
    for (const Directive* inner : directive->body) {
      if (inner->is("proxy_pass")) return kStream;
      if (inner->is("location") || inner->is("server_name")) break;
    }
  }
  const auto best = std::ranges::max_element(score);
  return kFrames[static_cast<std::size_t>(best - score.begin())];
}

void check_directives(Tree& tree, std::vector<std::string_view>& unknown) {
  Checker(tree, unknown).body(tree.root);
}

bool parse_size(std::string_view text, std::uint64_t& bytes) noexcept {
  if (text.empty()) return false;
  std::uint64_t unit = 1;
  switch (ascii::lower(text.back())) {
    case 'k':
      unit = std::uint64_t{1} << 10;
      break;
    case 'm':
      unit = std::uint64_t{1} << 20;
      break;
    case 'g':
      unit = std::uint64_t{1} << 30;
      break;
    default:
      break;
  }
  if (unit != 1) text.remove_suffix(1);
  if (text.empty() || text.size() > 18) return false;
  bytes = 0;
  for (const char c : text) {
    if (!ascii::is_digit(c)) return false;
    bytes = bytes * 10 + static_cast<unsigned>(c - '0');
  }
  if (bytes > std::numeric_limits<std::uint64_t>::max() / unit) return false;
  bytes *= unit;
  return true;
}

bool parse_time(std::string_view text, std::uint64_t& milliseconds) noexcept {
  constexpr std::uint64_t kDay = 86'400'000;
  milliseconds = 0;
  if (text.empty() || text.size() > 64) return false;
  std::size_t i = 0;
  while (i < text.size()) {
    if (text[i] == ' ') {
      ++i;
      continue;
    }
    std::uint64_t number = 0;
    const std::size_t digits_from = i;
    for (; i < text.size() && ascii::is_digit(text[i]); ++i) {
      if (i - digits_from >= 12) return false;
      number = number * 10 + static_cast<unsigned>(text[i] - '0');
    }
    if (i == digits_from) return false;
    std::uint64_t unit = 1000;
    if (i < text.size() && text[i] != ' ') {
      const bool millis = text[i] == 'm' && i + 1 < text.size() && text[i + 1] == 's';
      switch (text[i++]) {
        case 'y':
          unit = 365 * kDay;
          break;
        case 'M':
          unit = 30 * kDay;
          break;
        case 'w':
          unit = 7 * kDay;
          break;
        case 'd':
          unit = kDay;
          break;
        case 'h':
          unit = 3'600'000;
          break;
        case 'm':
          unit = millis ? 1 : 60'000;
          break;
        case 's':
          unit = 1000;
          break;
        default:
          return false;
      }
      if (millis) ++i;
    }
    milliseconds += number * unit;
  }
  return true;
}

}  // namespace merlon::audit::nginx
