#include "audit/nginx/rewrite_phase.h"

#include <algorithm>
#include <utility>

#include "audit/nginx/condition.h"
#include "audit/nginx/rules.h"
#include "base/ascii.h"
#include "base/ip.h"

namespace merlon::audit::nginx {
namespace {

/// One request may look at so many entries of maps, each pattern counted as many: maps can be long
/// and lead to each other.
constexpr std::uint32_t kWorkMax = 10'000;
constexpr std::uint32_t kPatternWork = 100;
constexpr std::size_t kTextMax = 4096;
/// Maps that lead to each other: nginx refuses those that never end, when it comes to them.
constexpr std::uint32_t kMapsMax = 16;

bool leads_out(const Directive& rewrite) {
  const std::string_view to = rewrite.arg(1);
  return rewrite.arg(2) == "permanent" || rewrite.arg(2) == "redirect" ||
         to.starts_with("http://") || to.starts_with("https://") || to.starts_with("$scheme");
}

}  // namespace

bool holds_secret(std::string_view name) {
  const bool sent =
      name.starts_with("http_") || name.starts_with("cookie_") || name.starts_with("arg_");
  constexpr std::string_view kWords[] = {"auth", "token", "key", "secret", "passw", "session"};
  return sent && std::ranges::any_of(kWords, [&](std::string_view word) {
           return name.find(word) != std::string_view::npos;
         });
}

RewritePhase::RewritePhase(Request request, const Variables* variables)
    : request_(std::move(request)), variables_(variables) {
  for (const auto& [name, text] : request_.variables) values_.emplace(name, text);
}

void RewritePhase::run(const Scope& scope) {
  stopped_ = false;
  ran_.push_back(&scope);
  for (const Directive* directive : scope.rewrites) step(*directive);
}

void RewritePhase::step(const Directive& directive) {
  if (status_ != 0 || stopped_) return;
  if (directive.is("if")) return branch(directive);
  if (directive.is("rewrite")) return rewrite(directive);
  if (directive.is("return")) return answer(status_of(directive));
  if (directive.is("break")) stopped_ = true;
  if (directive.is("set") && directive.arg(0).starts_with('$')) {
    values_.insert_or_assign(std::string(directive.arg(0).substr(1)), expand(directive.arg(1)));
  }
}

void RewritePhase::answer(unsigned status) {
  status_ = status;
  answered_by_if_ = ifs_ > 0;
}

void RewritePhase::branch(const Directive& block) {
  const std::optional<bool> entered = holds(block);
  if (!entered) return forget(block);
  if (!*entered) return;
  ++ifs_;
  for (const Directive* directive : block.body) step(*directive);
  --ifs_;
}

/// An `if` of which is not known whether it is entered: neither is what it may change.
void RewritePhase::forget(const Directive& block) {
  for (const Directive* directive : block.body) {
    const bool moves = directive->is("rewrite") && !leads_out(*directive);
    if (directive->is("set") && directive->arg(0).starts_with('$')) {
      values_.insert_or_assign(std::string(directive->arg(0).substr(1)), std::nullopt);
    }
    if (moves) values_.insert_or_assign("uri", std::nullopt);
    stopped_ = stopped_ || directive->is("break") ||
               (moves && (directive->arg(2) == "last" || directive->arg(2) == "break"));
  }
}

void RewritePhase::rewrite(const Directive& directive) {
  const Value path = uri();
  const std::optional<bool> hit = path ? matches(directive.arg(0), false, *path) : std::nullopt;
  if (!hit.value_or(true)) return;
  if (leads_out(directive)) {
    if (hit) answer(directive.arg(2) == "permanent" ? 301 : 302);
    return;
  }
  const std::string_view to = directive.arg(1).substr(0, directive.arg(1).find('?'));
  values_.insert_or_assign("uri", hit ? expand(to) : std::nullopt);
  stopped_ = directive.arg(2) == "last" || directive.arg(2) == "break";
}

std::optional<bool> RewritePhase::holds(const Directive& block) const {
  const std::optional<Condition> condition = condition_of(block);
  const Value left = condition ? value(condition->variable) : std::nullopt;
  if (!left) return std::nullopt;
  switch (condition->test) {
    case Condition::Test::kTrue:
      return !left->empty() && *left != "0";
    case Condition::Test::kEqual:
    case Condition::Test::kNotEqual: {
      const Value right = expand(condition->value);
      // Neither a guess nor an empty text hits "Bearer $secret", whatever the secret is.
      const bool cannot_hit =
          *left == kGuess || (left->empty() && !condition->value.starts_with('$'));
      if (!right && !cannot_hit) return std::nullopt;
      return (right == left) == (condition->test == Condition::Test::kEqual);
    }
    case Condition::Test::kMatch:
    case Condition::Test::kNotMatch: {
      const std::optional<bool> hit = matches(condition->value, condition->ignore_case, *left);
      if (!hit) return std::nullopt;
      return *hit == (condition->test == Condition::Test::kMatch);
    }
  }
  return std::nullopt;
}

std::optional<bool> RewritePhase::matches(std::string_view pattern, bool ignore_case,
                                          std::string_view text) const {
  work_ += kPatternWork;
  if (work_ > kWorkMax || text.find(kGuess) != std::string_view::npos) return std::nullopt;
  return Pattern(pattern, ignore_case).search(text);
}

std::optional<std::string> RewritePhase::expand(std::string_view text) const {
  std::string out;
  std::size_t from = 0;
  for (const VariableUse& use : variables_in(text)) {
    const Value inner = value(use.name);
    if (!inner) return std::nullopt;
    out.append(text.substr(from, use.at - from)).append(*inner);
    from = use.at + use.length;
  }
  out.append(text.substr(from));
  if (out.size() > kTextMax) return std::nullopt;
  return out;
}

RewritePhase::Value RewritePhase::value(std::string_view name) const {
  if (const auto found = values_.find(name); found != values_.end()) return found->second;
  const Directive* map = variables_ == nullptr ? nullptr : variables_->map_of(name);
  if (map == nullptr && is_unset(name)) return "";
  if (map == nullptr) return holds_secret(name) ? request_.secrets : std::nullopt;
  if (++work_ > kWorkMax || maps_ == kMapsMax) return std::nullopt;
  if (map->is("geo")) return located(*map);
  if (!map->is("map")) return std::nullopt;
  ++maps_;
  const Value out = mapped(*map);
  --maps_;
  return out;
}

/// nginx takes a variable for "" that some `set` defines and none was met for: of what ran, and
/// where no other scope may have set it before it handed the request on.
bool RewritePhase::is_unset(std::string_view name) const {
  if (variables_ == nullptr || ran_.empty() || !variables_->comes_from_set(name)) return false;
  if (std::ranges::any_of(ran_, [](const Scope* scope) { return scope->incomplete; })) return false;
  const std::vector<Variables::SetAt>* sets = variables_->sets_of(name, *ran_.back());
  return sets == nullptr || std::ranges::all_of(*sets, [&](const Variables::SetAt& one) {
           const bool in_if = (one.scope->context & (kIfInServer | kIfInLocation)) != 0;
           const Scope* base = in_if ? one.scope->parent : one.scope;
           return std::ranges::find(ran_, base) != ran_.end();
         });
}

/// What a map gives: an exact key goes before patterns, those in their order, then the default.
RewritePhase::Value RewritePhase::mapped(const Directive& map) const {
  const Value source = expand(map.arg(0));
  if (!source || map.incomplete) return std::nullopt;
  const Directive* fallback = nullptr;
  const Directive* pattern = nullptr;
  bool sure = true;
  for (const Directive* entry : map.body) {
    if (++work_ > kWorkMax || entry->is("hostnames")) return std::nullopt;
    const std::string_view key = entry->name.text;
    if (key == "default" && !entry->name.quoted) {
      fallback = entry;
    } else if (key.starts_with('~') && pattern == nullptr) {
      const bool ignore_case = key.starts_with("~*");
      const auto hit = matches(key.substr(ignore_case ? 2 : 1), ignore_case, *source);
      if (!hit.value_or(true)) continue;
      pattern = entry;
      sure = hit.has_value();
    } else if (ascii::iequals(key, *source)) {
      return expand(entry->arg(0));
    }
  }
  if (!sure) return std::nullopt;
  if (pattern == nullptr) pattern = fallback;
  return pattern == nullptr ? Value("") : expand(pattern->arg(0));
}

/// What a geo gives for the client's address, whichever variable it is told to take that from.
RewritePhase::Value RewritePhase::located(const Directive& geo) const {
  const Value text = value("remote_addr");
  const auto address = text ? IpAddress::parse(*text) : std::nullopt;
  if (!address) return std::nullopt;
  std::string_view found;
  int bits_max = -1;
  for (const Directive* entry : geo.body) {
    if (++work_ > kWorkMax) return std::nullopt;
    const bool fallback = entry->is("default");
    const auto network = fallback ? std::nullopt : Cidr::parse(entry->name.text);
    if (!fallback && (!network || !network->contains(*address))) continue;
    const int bits = fallback ? 0 : network->prefix_bits;
    if (bits < bits_max) continue;
    found = entry->arg(0);
    bits_max = bits;
  }
  return std::string(found);
}

}  // namespace merlon::audit::nginx
