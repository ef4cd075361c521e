#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "audit/nginx/model.h"
#include "audit/nginx/variables.h"

namespace merlon::audit::nginx {

/// What a client sends that does not know the value that is expected: it equals no other text, and
/// whether a pattern matches it is not known.
inline constexpr std::string_view kGuess = "\x01guess";

/// A request as far as a rule makes it up. Nothing is concluded from what it leaves open.
struct Request {
  std::map<std::string, std::string, std::less<>> variables;  ///< by name, without the "$"
  /// What the headers, cookies and arguments hold that a secret is expected in.
  std::optional<std::string> secrets = std::nullopt;
};

/// True for a header, cookie or argument in which a client shows a secret, going by its name.
[[nodiscard]] bool holds_secret(std::string_view name);

/// Carries out set, if, rewrite, return and break for one request: what nginx does with it before
/// it looks for a location, and in that location before it looks at who asks.
class RewritePhase {
 public:
  /// `variables` holds the maps and outlives the phase; nullptr: what maps give is not known.
  RewritePhase(Request request, const Variables* variables);

  /// What stands in this very scope; nginx inherits none of it. First the server, then the
  /// location.
  void run(const Scope& scope);

  /// The status that the request was surely answered with; 0: it goes on, or may.
  [[nodiscard]] unsigned status() const noexcept { return status_; }
  /// True when an `if` was the cause of that answer.
  [[nodiscard]] bool answered_by_if() const noexcept { return answered_by_if_; }
  /// Whether it enters this `if`; nullopt when not known.
  [[nodiscard]] std::optional<bool> enters(const Directive& block) const { return holds(block); }
  /// `text` with the variables filled in; nullopt when one of them is not known.
  [[nodiscard]] std::optional<std::string> filled_in(std::string_view text) const {
    return expand(text);
  }
  /// Its path, rewritten or not; nullopt when not known.
  [[nodiscard]] std::optional<std::string> uri() const { return value("uri"); }
  /// `text` with its variables filled in; nullopt when one of them is not known.
  [[nodiscard]] std::optional<std::string> expand(std::string_view text) const;

 private:
  using Value = std::optional<std::string>;

  void step(const Directive& directive);
  void branch(const Directive& block);
  void forget(const Directive& block);
  void rewrite(const Directive& directive);
  void answer(unsigned status);
  [[nodiscard]] std::optional<bool> holds(const Directive& block) const;
  [[nodiscard]] Value value(std::string_view name) const;
  [[nodiscard]] bool is_unset(std::string_view name) const;
  [[nodiscard]] Value mapped(const Directive& map) const;
  [[nodiscard]] Value located(const Directive& geo) const;
  [[nodiscard]] std::optional<bool> matches(std::string_view pattern, bool ignore_case,
                                            std::string_view text) const;

  Request request_;
  const Variables* variables_;
  std::map<std::string, Value, std::less<>> values_;
  std::vector<const Scope*> ran_;
  mutable std::uint32_t work_ = 0;
  mutable std::uint32_t maps_ = 0;  ///< inside of each other, that are being looked up
  unsigned status_ = 0;
  std::uint32_t ifs_ = 0;  ///< around the step
  bool answered_by_if_ = false;
  bool stopped_ = false;
};

}  // namespace merlon::audit::nginx
