#include "audit/nginx/origin_gates.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>

#include "audit/nginx/condition.h"

namespace merlon::audit::nginx {
namespace {

/// The origin of a site that no configuration means.
constexpr std::string_view kForeign = "https://merlon-any-name.test";
/// Sets in ifs on other sets can fan out: one header may lead to so many of them.
constexpr std::uint32_t kStepsMax = 1000;

bool is_origin(std::string_view variable) { return variable == "http_origin"; }

bool mentions(std::string_view text, std::string_view variable) {
  return std::ranges::any_of(variables_in(text),
                             [&](const VariableUse& use) { return use.name == variable; });
}

bool has_variable(std::string_view text) { return text.find('$') != std::string_view::npos; }

/// What is asked of a variable: that it holds an origin to send, or that `condition` is true of it,
/// or false.
struct Question {
  std::optional<Condition> condition = std::nullopt;
  bool wanted = true;

  /// True when the variable with this value may be what is asked for.
  [[nodiscard]] bool fits(std::string_view value) const {
    if (condition && has_variable(value)) return true;
    return holds_for(condition.value_or(Condition{}), value) == wanted;
  }

  /// The same of a variable to whose value other sets append.
  [[nodiscard]] bool may_begin_with(std::string_view value) const {
    if (fits(value) || condition->test != Condition::Test::kEqual) return fits(value);
    return wanted && !value.empty() && condition->value.starts_with(value);
  }
};

/// Both must be passed: the one around lets no more in than it does alone.
void add(OriginGates& to, const OriginGates& other) {
  to.list.insert(to.list.end(), other.list.begin(), other.list.end());
  to.unknown = to.unknown || other.unknown;
}

/// A fence around something: nullopt as long as any Origin gets past it.
using Fence = std::optional<OriginGates>;

/// A variable of which no value hangs on the Origin keeps nobody out.
Fence fence_of_gates(OriginGates gates) {
  if (gates.open != nullptr || (gates.list.empty() && !gates.unknown)) return std::nullopt;
  return gates;
}

void narrow(Fence& fence, const Fence& by) {
  if (!by) return;
  if (!fence) fence.emplace();
  add(*fence, *by);
}

/// Which origins get past a test of the Origin itself.
Fence fence_of_origin(const Directive& block, const Question& asked) {
  const Condition& condition = *asked.condition;
  using Test = Condition::Test;
  const bool regex = condition.test == Test::kMatch || condition.test == Test::kNotMatch;
  const bool selects = condition.test == Test::kEqual || condition.test == Test::kMatch;
  OriginGates out;
  if (!regex && has_variable(condition.value)) {
    out.unknown = selects != asked.wanted;
    return out;
  }
  if (condition.test != Test::kTrue && selects == asked.wanted) {
    out.list.push_back({&block, condition.value, regex, condition.ignore_case});
    return out;
  }
  if (asked.fits(kForeign)) return std::nullopt;
  out.unknown = true;
  return out;
}

class GateFinder {
 public:
  explicit GateFinder(Inspection& in) : in_(in) {}

  OriginGates of_value(const Directive& header, std::string_view value, const Scope& scope) {
    OriginGates out = of_text(header, value, scope);
    const Fence fence = around(scope);
    if (!fence) return out;
    out.open = nullptr;
    add(out, *fence);
    return out;
  }

 private:
  /// What lets an Origin into a text that `at` makes.
  OriginGates of_text(const Directive& at, std::string_view text, const Scope& scope) {
    OriginGates out;
    for (const VariableUse& use : variables_in(text)) {
      if (is_origin(use.name)) {
        out.open = &at;
        continue;
      }
      const OriginGates inner = of_variable(use.name, scope, {});
      add(out, inner);
      if (out.open == nullptr) out.open = inner.open;
    }
    return out;
  }

  /// What lets an Origin make a variable what is asked for.
  OriginGates of_variable(std::string_view name, const Scope& scope, const Question& asked) {
    if (is_too_far()) return {.unknown = true};
    // What leads back to a variable adds nothing to what is found of it.
    if (!open_questions_.insert(name).second) return {};
    const Directive* map = in_.variables.map_of(name);
    OriginGates out = map != nullptr ? of_map(*map, asked) : of_sets(name, scope, asked);
    open_questions_.erase(name);
    return out;
  }

  /// Counts what is looked at; past the bound, says which rules are not judged to the end.
  bool is_too_far() {
    if (++steps_ <= kStepsMax) return false;
    for (const std::string_view rule : {"COR-01", "COR-02", "COR-03", "COR-04"}) {
      in_.not_checked(rule, "more sets, maps and ifs lead to an allowed origin than are followed");
    }
    return true;
  }

  /// What a map, geo or split_clients gives. One that looks at something else than the Origin keeps
  /// nobody out; its values may still hold it.
  OriginGates of_map(const Directive& map, const Question& asked) {
    OriginGates out;
    const std::string_view source = map.args.size() > 1 ? map.arg(0) : "$remote_addr";
    if (!in_.variables.depends_on(source, is_origin, *in_.model.root)) {
      if (!asked.condition) add_values(map, out);
      return out;
    }
    // What was not read may hold any entry, and the default where there is none.
    out.unknown = !map.is("map") || map.incomplete || map.lacks_folder;
    if (!map.is("map")) return out;
    bool has_default = false;
    for (const Directive* entry : map.body) {
      const std::string_view key = entry->name.text;
      if (key == "include" || key == "hostnames" || key == "volatile") continue;
      if (key == "default" && !entry->name.quoted) {
        has_default = true;
        add_default(*entry, asked, out);
      } else if (asked.fits(entry->arg(0))) {
        const bool regex = key.starts_with('~');
        const bool ignore_case = key.starts_with("~*");
        out.list.push_back({entry,
                            key.substr(ignore_case ? 2
                                       : regex     ? 1
                                                   : 0),
                            regex, ignore_case});
      }
    }
    if (!has_default && !out.unknown && asked.fits("")) out.open = &map;
    return out;
  }

  void add_values(const Directive& map, OriginGates& out) {
    for (const Directive* entry : map.body) {
      const OriginGates inner = of_text(*entry, entry->arg(0), *in_.model.root);
      add(out, inner);
      if (inner.open != nullptr) out.open = inner.open;
    }
  }

  /// What a map gives an Origin that it does not list.
  void add_default(const Directive& entry, const Question& asked, OriginGates& out) {
    const std::string_view value = entry.arg(0);
    if (!asked.condition) {
      const OriginGates inner = of_text(entry, value, *in_.model.root);
      add(out, inner);
      out.open = value == "*" ? &entry : inner.open;
    } else if (asked.fits(value)) {
      out.open = &entry;
    }
  }

  /// The sets that make `name` what is asked for; those that undo it later, in an if, are a fence.
  OriginGates of_sets(std::string_view name, const Scope& scope, const Question& asked) {
    OriginGates out;
    Fence undone;
    bool has_default = false;
    const std::vector<Variables::SetAt> sets = in_.variables.sets_before(name, scope);
    const bool grows = asked.condition && std::ranges::any_of(sets, [&](const auto& one) {
                         return mentions(one.set->arg(1), name);
                       });
    for (const auto& [depth, one] : in_order(sets)) {
      const std::string_view value = one.set->arg(1);
      const bool in_if = is_in_if(*one.scope);
      has_default = has_default || !in_if;
      if (mentions(value, name)) {  // the others say what it adds to
        if (const Fence fence = around(*one.scope)) add(out, *fence);
        continue;
      }
      const bool fits = grows ? asked.may_begin_with(value)
                              : asked.fits(value) && (asked.condition || has_variable(value));
      if (!fits && in_if) narrow(undone, fence_of(*one.scope, false));
      if (!fits) continue;
      const OriginGates inner = of_set(one, asked);
      add(out, inner);
      if (inner.open == nullptr) continue;
      out.open = inner.open;
      undone.reset();
    }
    if (!has_default && asked.condition && asked.fits("")) out.open = in_.model.root->block;
    if (!undone || out.open == nullptr) return out;
    out.open = nullptr;
    add(out, *undone);
    return out;
  }

  OriginGates of_set(const Variables::SetAt& one, const Question& asked) {
    const std::string_view value = one.set->arg(1);
    Fence fence = around(*one.scope);
    narrow(fence, before(one));
    if (fence) return *std::move(fence);
    if (!has_variable(value)) return {.open = one.set};
    const std::vector<VariableUse> uses = variables_in(value);
    const bool copies = uses.size() == 1 && uses[0].length == value.size();
    if (copies && !is_origin(uses[0].name)) return of_variable(uses[0].name, *one.scope, asked);
    if (!asked.condition) return of_text(*one.set, value, *one.scope);
    // A flag of several parts, such as "$method$cors": every part must be there.
    Fence out;
    for (const VariableUse& use : uses) {
      if (is_origin(use.name)) continue;
      narrow(out, fence_of_gates(of_variable(use.name, *one.scope, {.condition = Condition{}})));
    }
    return out.value_or(OriginGates{.open = one.set});
  }

  /// Which origins come into an if (`entered`), or past it.
  Fence fence_of(const Scope& block, bool entered) {
    const std::optional<Condition> condition = condition_of(*block.block);
    if (!condition) return std::nullopt;
    if (is_too_far()) return OriginGates{.unknown = true};
    const Question asked{condition, entered};
    if (is_origin(condition->variable)) return fence_of_origin(*block.block, asked);
    return fence_of_gates(of_variable(condition->variable, block, asked));
  }

  static bool is_in_if(const Scope& scope) {
    return (scope.context & (kIfInServer | kIfInLocation)) != 0;
  }

  /// By depth: what stands in a server is carried out before what stands in its locations.
  static std::multimap<std::size_t, Variables::SetAt> in_order(
      const std::vector<Variables::SetAt>& sets) {
    std::multimap<std::size_t, Variables::SetAt> out;
    for (const Variables::SetAt& one : sets) {
      std::size_t depth = 0;
      const Scope* base = is_in_if(*one.scope) ? one.scope->parent : one.scope;
      for (; base != nullptr; base = base->parent) ++depth;
      out.emplace(depth, one);
    }
    return out;
  }

  /// An if that ends its level, by `return` or `break`, and its place among the steps there.
  struct Ending {
    std::size_t place;
    const Scope* block;
  };

  /// The ifs of a level that end it; looked for once, since every set of the level asks.
  const std::vector<Ending>& endings_of(const Scope& level) {
    const auto [found, added] = endings_.try_emplace(&level);
    if (!added) return found->second;
    for (std::size_t i = 0; i < level.rewrites.size(); ++i) {
      const auto block = in_.model.scope_of_block.find(level.rewrites[i]);
      if (block == in_.model.scope_of_block.end()) continue;
      const bool ends = block->second->has("break") || block->second->has("return");
      if (ends) found->second.push_back({i, block->second});
    }
    return found->second;
  }

  /// What an Origin must pass that comes to a set: the ifs before it on its level that end there.
  Fence before(const Variables::SetAt& one) {
    Fence out;
    const bool in_if = is_in_if(*one.scope);
    const Directive* last = in_if ? one.scope->block : one.set;
    const Scope& level = in_if ? *one.scope->parent : *one.scope;
    const std::vector<Ending>& endings = endings_of(level);
    if (endings.empty()) return out;
    const auto end = std::ranges::find(level.rewrites, last) - level.rewrites.begin();
    for (const Ending& ending : endings) {
      if (ending.place >= static_cast<std::size_t>(end)) break;
      const bool skips = ending.block->has("break") && one.set->is("set");
      if (skips || ending.block->has("return")) narrow(out, fence_of(*ending.block, false));
    }
    return out;
  }

  /// What an Origin must pass that comes to `scope`: the ifs around it, and those before it that
  /// refuse the others.
  Fence around(const Scope& scope) {
    Fence out;
    for (const Scope* level = &scope; level != nullptr; level = level->parent) {
      for (const Ending& ending : endings_of(*level)) {
        if (return_status(*ending.block) >= 400) narrow(out, fence_of(*ending.block, false));
      }
      if (is_in_if(*level)) narrow(out, fence_of(*level, true));
    }
    return out;
  }

  Inspection& in_;
  std::set<std::string_view> open_questions_;
  std::map<const Scope*, std::vector<Ending>> endings_;
  std::uint32_t steps_ = 0;
};

}  // namespace

OriginGates gates_of_origin(Inspection& in, const Directive& header, std::string_view value,
                            const Scope& scope) {
  return GateFinder(in).of_value(header, value, scope);
}

}  // namespace merlon::audit::nginx
