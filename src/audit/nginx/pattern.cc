#include "audit/nginx/pattern.h"

#include <algorithm>
#include <functional>

#include "base/ascii.h"

namespace merlon::audit::nginx {
namespace {

constexpr std::uint32_t kNoBound = UINT32_MAX;
constexpr std::size_t kBytesMax = 4096;
constexpr std::size_t kRecursionMax = 4000;

std::size_t index_of(char c) noexcept { return static_cast<unsigned char>(c); }

}  // namespace

/// Backtracking with a budget of steps and of recursion.
class Pattern::Search {
 public:
  using Then = std::function<bool(std::size_t)>;
  Search(const Pattern& pattern, std::string_view text, std::size_t steps_max)
      : pattern_(pattern), text_(text), steps_max_(steps_max) {}

  bool from(std::size_t at) {
    return step(pattern_.root_, at, [](std::size_t) { return true; });
  }
  [[nodiscard]] bool exhausted() const { return exhausted_; }

 private:
  bool step(std::uint32_t index, std::size_t at, const Then& then) {
    if (++steps_ > steps_max_ || depth_ > kRecursionMax) {
      exhausted_ = true;
      return false;
    }
    ++depth_;
    const bool matched = dispatch(pattern_.nodes_[index], at, then);
    --depth_;
    return matched;
  }

  bool dispatch(const Node& node, std::size_t at, const Then& then) {
    switch (node.op) {
      case Op::kEmpty:
        return then(at);
      case Op::kChars:
        return at < text_.size() && node.chars[index_of(text_[at])] && then(at + 1);
      case Op::kSequence:
        return sequence(node, 0, at, then);
      case Op::kChoice:
        return std::ranges::any_of(node.parts,
                                   [&](std::uint32_t part) { return step(part, at, then); });
      case Op::kRepeat:
        return repeat(node, 0, at, then);
      case Op::kGroup:
        return step(node.parts.front(), at, then);
      case Op::kBegin:
        return at == 0 && then(at);
      case Op::kEnd:
        return (at == text_.size() || (at + 1 == text_.size() && text_[at] == '\n')) && then(at);
      case Op::kWordEdge:
        return (word_at(at) != (at > 0 && word_at(at - 1))) != node.negative && then(at);
      case Op::kLook:
        return look(node, at) != node.negative && then(at);
      case Op::kFail:
        return false;
    }
    return false;
  }

  bool sequence(const Node& node, std::size_t part, std::size_t at, const Then& then) {
    if (part == node.parts.size()) return then(at);
    return step(node.parts[part], at,
                [&, part](std::size_t next) { return sequence(node, part + 1, next, then); });
  }

  bool repeat(const Node& node, std::uint32_t count, std::size_t at, const Then& then) {
    if (++steps_ > steps_max_ || exhausted_) {
      exhausted_ = true;
      return false;
    }
    if (count < node.max) {
      const bool more = step(node.parts.front(), at, [&, count, at](std::size_t next) {
        return (next > at || count < node.min) && repeat(node, count + 1, next, then);
      });
      if (more) return true;
    }
    return count >= node.min && then(at);
  }

  bool look(const Node& node, std::size_t at) {
    if (!node.behind) return step(node.parts.front(), at, [](std::size_t) { return true; });
    for (std::size_t from = 0; from <= at; ++from) {
      if (step(node.parts.front(), from, [&](std::size_t end) { return end == at; })) return true;
    }
    return false;
  }

  [[nodiscard]] bool word_at(std::size_t at) const {
    return at < text_.size() && (ascii::is_alnum(text_[at]) || text_[at] == '_');
  }

  const Pattern& pattern_;
  std::string_view text_;
  std::size_t steps_max_;
  std::size_t steps_ = 0;
  std::size_t depth_ = 0;
  bool exhausted_ = false;
};

std::optional<bool> Pattern::search(std::string_view text, std::size_t steps_max) const {
  if (!ok_ || text.size() > kBytesMax) return std::nullopt;
  Search search(*this, text, steps_max);
  for (std::size_t at = 0; at <= text.size(); ++at) {
    if (search.from(at)) return true;
    if (search.exhausted()) return std::nullopt;
  }
  return false;
}

std::optional<std::uint32_t> Pattern::find_group(std::size_t number) const {
  if (!ok_) return std::nullopt;
  if (number == 0) return root_;
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[i].op == Op::kGroup && nodes_[i].group == number) return i;
  }
  return std::nullopt;
}

void Pattern::collect(std::uint32_t index, Chars& out) const {
  const Node& node = nodes_[index];
  if (node.op == Op::kChars) out |= node.chars;
  if (node.op == Op::kLook) return;
  for (const std::uint32_t part : node.parts) collect(part, out);
}

Pattern::Chars Pattern::group_chars(std::size_t number) const {
  Chars out;
  const auto found = find_group(number);
  if (!found) return out.set();
  collect(*found, out);
  return out;
}

bool Pattern::finite(std::uint32_t index) const {
  const Node& node = nodes_[index];
  if (node.op == Op::kChars) return node.chars.count() <= 2;  // one letter, either case
  if (node.op == Op::kRepeat && node.max > 1) return false;
  return std::ranges::all_of(node.parts, [&](std::uint32_t part) { return finite(part); });
}

bool Pattern::group_is_finite(std::size_t number) const {
  const auto found = find_group(number);
  return found && finite(*found);
}

bool Pattern::starts_with(std::uint32_t index, char c) const {
  const Node& node = nodes_[index];
  switch (node.op) {
    case Op::kChars:
      return node.chars.count() == 1 && node.chars[index_of(c)];
    case Op::kGroup:
      return starts_with(node.parts.front(), c);
    case Op::kRepeat:
      return node.min > 0 && starts_with(node.parts.front(), c);
    case Op::kChoice:
      return std::ranges::all_of(node.parts,
                                 [&](std::uint32_t part) { return starts_with(part, c); });
    case Op::kSequence:
      for (const std::uint32_t part : node.parts) {
        const Op op = nodes_[part].op;
        if (op == Op::kBegin || op == Op::kEmpty || op == Op::kLook) continue;
        return starts_with(part, c);
      }
      return false;
    case Op::kEmpty:
    case Op::kBegin:
    case Op::kEnd:
    case Op::kWordEdge:
    case Op::kLook:
    case Op::kFail:
      return false;
  }
  return false;
}

bool Pattern::group_starts_with(std::size_t number, char c) const {
  const auto found = find_group(number);
  return found && starts_with(*found, c);
}

bool Pattern::group_starts_text(std::size_t number) const {
  return ok_ && number != 0 && anchored_at_start() && leads_with(root_, number);
}

/// Whether the first thing of `index` that takes a byte is `group`.
bool Pattern::leads_with(std::uint32_t index, std::size_t group) const {
  const Node& node = nodes_[index];
  if (node.op == Op::kGroup) {
    return node.group == group || leads_with(node.parts.front(), group);
  }
  if (node.op != Op::kSequence) return false;
  for (const std::uint32_t part : node.parts) {
    const Op op = nodes_[part].op;
    if (op == Op::kBegin || op == Op::kEmpty || op == Op::kLook) continue;
    return leads_with(part, group);
  }
  return false;
}

std::size_t Pattern::group_named(std::string_view name) const {
  for (const auto& [known, number] : names_) {
    if (known == name) return number;
  }
  return 0;
}

bool Pattern::anchored(std::uint32_t index, bool start) const {
  const Node& node = nodes_[index];
  switch (node.op) {
    case Op::kBegin:
      return start;
    case Op::kEnd:
      return !start;
    case Op::kGroup:
      return anchored(node.parts.front(), start);
    case Op::kRepeat:
      return node.min > 0 && anchored(node.parts.front(), start);
    case Op::kChoice:
      return std::ranges::all_of(node.parts,
                                 [&](std::uint32_t part) { return anchored(part, start); });
    case Op::kSequence: {
      const auto zero_width = [&](std::uint32_t part) {
        return nodes_[part].op == Op::kLook || nodes_[part].op == Op::kEmpty;
      };
      std::vector<std::uint32_t> parts = node.parts;
      if (!start) std::ranges::reverse(parts);
      for (const std::uint32_t part : parts) {
        if (anchored(part, start)) return true;
        if (!zero_width(part)) return false;
      }
      return false;
    }
    case Op::kEmpty:
    case Op::kChars:
    case Op::kWordEdge:
    case Op::kLook:
    case Op::kFail:
      return false;
  }
  return false;
}

void Pattern::sample_into(std::uint32_t index, Sampling& how, std::string& out) const {
  constexpr std::size_t kSampleMax = 512;
  if (out.size() > kSampleMax) return;
  const Node& node = nodes_[index];
  if (node.op == Op::kLook) return;
  if (node.op == Op::kChoice) {
    return sample_into(node.parts[std::min(how.alternative, node.parts.size() - 1)], how, out);
  }
  if (node.op == Op::kRepeat) {
    // An optional group is left out, an optional repeat of a class is shown once.
    const bool once = node.min > 0 || (node.max > 1 && nodes_[node.parts.front()].op == Op::kChars);
    const bool wild = nodes_[node.parts.front()].wild;
    for (std::uint32_t i = 0; i < std::max(node.min, once && !wild ? 1U : 0U) && i < 64; ++i) {
      if (wild) {
        out += 'a';
      } else {
        sample_into(node.parts.front(), how, out);
      }
    }
    return;
  }
  if (node.op == Op::kChars) {
    if (node.wild) {
      out += how.swap_all || how.dots == how.swapped ? 'x' : '.';
      ++how.dots;
      return;
    }
    // Of a letter in either case the small one: patterns that heed the case are written so.
    for (const char c : std::string_view("a0./bcdefghijklmnopqrstuvwxyz")) {
      if (node.chars[index_of(c)]) {
        out += c;
        return;
      }
    }
    for (std::size_t c = 0x20; c < 0x7f; ++c) {
      if (node.chars[c]) {
        out += static_cast<char>(c);
        return;
      }
    }
    return;
  }
  for (const std::uint32_t part : node.parts) sample_into(part, how, out);
}

std::string Pattern::sample(bool swap_wild) const {
  return sample(Sampling{.swap_all = swap_wild});
}

std::string Pattern::sample_with(std::size_t alternative, std::size_t swapped) const {
  return sample(Sampling{.swapped = swapped, .alternative = alternative});
}

std::string Pattern::sample(Sampling how) const {
  std::string out;
  if (ok_) sample_into(root_, how, out);
  const std::optional<bool> matches = search(out);
  return matches.value_or(false) ? out : std::string{};
}

/// True when what `index` stands for can match one text in more than one way, as far as its kind
/// shows: by how often it repeats, or by which branch.
bool Pattern::is_ambiguous(std::uint32_t index) const {
  const Node& node = nodes_[index];
  if (node.op == Op::kLook) return false;
  if (node.op == Op::kChoice || (node.op == Op::kRepeat && node.max == kNoBound)) return true;
  return std::ranges::any_of(node.parts, [&](std::uint32_t part) { return is_ambiguous(part); });
}

bool Pattern::may_explode(const Node& node) const {
  return node.op == Op::kRepeat && node.max == kNoBound && is_ambiguous(node.parts.front());
}

bool Pattern::nests_repeats() const {
  return ok_ && std::ranges::any_of(nodes_, [this](const Node& node) { return may_explode(node); });
}

/// A text of many `fill` that the search gives up on; "" when it does not.
std::string Pattern::explosion_of(char fill) const {
  const std::string lead = sample();
  const std::string before = lead.substr(0, std::min(lead.find(fill), lead.size()));
  const std::string folder = lead.substr(0, lead.rfind('/') + 1);
  for (const std::string& prefix : {before, folder, std::string("/"), std::string()}) {
    for (const char* tail : {"!", "\x01"}) {
      const std::string text = prefix + std::string(30, fill) + tail;
      if (!search(text).has_value()) return text;
    }
  }
  return {};
}

std::string Pattern::explosive() const {
  constexpr int kTriedMax = 4;  // a proof takes some ten milliseconds
  if (!ok_) return {};
  int tried = 0;
  for (const Node& outer : nodes_) {
    if (!may_explode(outer)) continue;
    if (++tried > kTriedMax) break;
    Chars inside;
    collect(outer.parts.front(), inside);
    char lowest = '\0';
    for (std::size_t c = 0x7e; c > 0x20; --c) {
      if (inside[c]) lowest = static_cast<char>(c);
    }
    if (lowest == '\0') continue;
    const char letter = inside[index_of('a')] ? 'a' : lowest;
    for (const char fill : {letter, lowest}) {
      std::string text = explosion_of(fill);
      if (!text.empty()) return text;
      if (letter == lowest) break;
    }
  }
  return {};
}

std::size_t group_of(const Pattern& pattern, std::string_view name) {
  if (name.size() == 1 && name[0] >= '1' && name[0] <= '9') {
    const auto number = static_cast<std::size_t>(name[0] - '0');
    return number <= pattern.groups() ? number : 0;
  }
  return pattern.group_named(name);
}

}  // namespace merlon::audit::nginx
