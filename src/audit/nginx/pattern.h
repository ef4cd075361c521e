#pragma once

#include <bitset>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// Regular expressions as the auditor needs them: not to be fast, but to be asked questions. What
/// can a group hold, does the pattern let a given text through, what does a matching text look
/// like. The common part of PCRE: classes, groups (named too), alternation, greedy and lazy
/// repeats, anchors, look-around. Anything else makes ok() false, and nothing is concluded from it.
namespace merlon::audit::nginx {

class Pattern {
 public:
  using Chars = std::bitset<256>;
  static constexpr std::size_t kStepsMax = 200'000;

  Pattern() = default;
  /// At most 4096 bytes and 64 levels of nesting; beyond that not ok().
  Pattern(std::string_view text, bool ignore_case);

  [[nodiscard]] bool ok() const noexcept { return ok_; }
  /// True when `text` holds a match (PCRE searches: it is not anchored by itself); nullopt when the
  /// pattern is not understood or the search takes more than `steps_max` steps, of which a
  /// million take some fifty milliseconds.
  [[nodiscard]] std::optional<bool> search(std::string_view text,
                                           std::size_t steps_max = kStepsMax) const;

  /// Every byte that group `number` can match (0: the whole pattern); all bytes when not known.
  [[nodiscard]] Chars group_chars(std::size_t number) const;
  /// True when the group can only match one of finitely many texts, such as (en|fr).
  [[nodiscard]] bool group_is_finite(std::size_t number) const;
  /// True when whatever group `number` matches starts with `c`.
  [[nodiscard]] bool group_starts_with(std::size_t number, char c) const;
  /// True when group `number` always starts where the text does, as in "^(.+)/$".
  [[nodiscard]] bool group_starts_text(std::size_t number) const;
  /// The number of the group called `name`; 0 when there is none.
  [[nodiscard]] std::size_t group_named(std::string_view name) const;
  [[nodiscard]] std::size_t groups() const noexcept { return groups_; }

  /// True when every match starts at the start of the text, or ends at its end.
  [[nodiscard]] bool anchored_at_start() const { return ok_ && anchored(root_, true); }
  [[nodiscard]] bool anchored_at_end() const { return ok_ && anchored(root_, false); }

  /// A text that matches, made of the pattern's own literals; "." stands for itself where any byte
  /// may stand. `swap_wild` has "x" there instead. "" when none was found.
  [[nodiscard]] std::string sample(bool swap_wild = false) const;
  /// The same with alternative number `alternative` wherever there is a choice (the last one where
  /// there are fewer), and "x" for the unescaped dot number `swapped` only, counted from 0.
  [[nodiscard]] std::string sample_with(std::size_t alternative,
                                        std::size_t swapped = SIZE_MAX) const;
  /// True when an unescaped dot stands between two literals where a literal dot was meant.
  [[nodiscard]] bool has_loose_dot() const noexcept { return loose_dot_; }
  /// True when a repeat without end holds another one, or a choice: explosive() has to try it.
  [[nodiscard]] bool nests_repeats() const;
  /// A text on which backtracking explodes, for patterns that nest repeats: "" when none is
  /// seen.
  [[nodiscard]] std::string explosive() const;

 private:
  enum class Op : std::uint8_t {
    kEmpty,
    kChars,
    kSequence,
    kChoice,
    kRepeat,
    kGroup,
    kBegin,
    kEnd,
    kWordEdge,
    kLook,
    kFail
  };
  struct Node {
    Op op = Op::kEmpty;
    Chars chars;
    std::vector<std::uint32_t> parts;
    std::uint32_t min = 0;
    std::uint32_t max = 0;    ///< UINT32_MAX: no bound
    std::uint32_t group = 0;  ///< number of a capturing group; 0: not captured
    bool negative = false;    ///< of kLook, kWordEdge
    bool behind = false;      ///< of kLook
    bool wild = false;        ///< of kChars: an unescaped dot
  };
  class Builder;
  class Search;

  [[nodiscard]] bool anchored(std::uint32_t node, bool start) const;
  [[nodiscard]] bool is_ambiguous(std::uint32_t node) const;
  [[nodiscard]] bool may_explode(const Node& node) const;
  [[nodiscard]] std::string explosion_of(char fill) const;
  [[nodiscard]] bool leads_with(std::uint32_t node, std::size_t group) const;
  void collect(std::uint32_t node, Chars& out) const;
  [[nodiscard]] bool starts_with(std::uint32_t node, char c) const;
  [[nodiscard]] bool finite(std::uint32_t node) const;
  /// What a sample takes where the pattern leaves a choice.
  struct Sampling {
    bool swap_all = false;
    std::size_t swapped = SIZE_MAX;
    std::size_t alternative = 0;
    std::size_t dots = 0;  ///< unescaped ones so far
  };
  void sample_into(std::uint32_t node, Sampling& how, std::string& out) const;
  [[nodiscard]] std::string sample(Sampling how) const;
  [[nodiscard]] std::optional<std::uint32_t> find_group(std::size_t number) const;

  std::vector<Node> nodes_;
  std::vector<std::pair<std::string, std::uint32_t>> names_;
  std::uint32_t root_ = 0;
  std::size_t groups_ = 0;
  bool ok_ = false;
  bool loose_dot_ = false;
};

/// The number of the group that variable `name` holds, when `pattern` matched last: "1", or a named
/// one. 0: none.
[[nodiscard]] std::size_t group_of(const Pattern& pattern, std::string_view name);

}  // namespace merlon::audit::nginx
