#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "audit/finding.h"
#include "audit/nginx/model.h"

/// Where the value of a variable comes from: what a client can put into it, and which bytes.
namespace merlon::audit::nginx {

/// What is known of a value. kConstant is the absence of all others.
enum Taint : std::uint32_t {
  kConstant = 0,
  kClient = 1U << 0,        ///< the client chooses it freely, or freely enough
  kLineBreaks = 1U << 1,    ///< it can hold CR or LF: it was percent-decoded
  kHostOnly = 1U << 2,      ///< the client's host name: lower case, no slash, no line break ($host)
  kUpstreamSays = 1U << 3,  ///< the upstream chooses it
  kUnseen = 1U << 4,        ///< set by a module or file that was not read
  kRooted = 1U << 6,        ///< always starts with "/": it ends the host of a URL
  kSlashFree = 1U << 5,     ///< client-chosen, but cannot hold "/" or "." (an identifier)
  kQuestionMark = 1U << 7,  ///< part of a Host that may hold "?", which ends the host of a URL
};

/// The origin of a text: its taint, and the chain of definitions that it came through.
struct Origin {
  std::uint32_t taint = kConstant;
  std::string source;            ///< the variable that the client controls, such as "$arg_url"
  std::vector<TrailStep> trail;  ///< the definitions on the way, outermost use first

  [[nodiscard]] bool client() const noexcept { return (taint & kClient) != 0; }
  [[nodiscard]] bool line_breaks() const noexcept { return (taint & kLineBreaks) != 0; }
  void merge(const Origin& other);
};

/// A variable in a text: "$name", "${name}", with its place.
struct VariableUse {
  std::string_view name;
  std::size_t at = 0;      ///< of the "$"
  std::size_t length = 0;  ///< of the whole reference
};

/// The variables of `text`, in order; at most 64.
[[nodiscard]] std::vector<VariableUse> variables_in(std::string_view text);

/// The definitions of a configuration, by name. Built once; the model outlives it.
class Variables {
 public:
  /// A `set` or auth_request_set, and where it stands.
  struct SetAt {
    const Directive* set;
    const Scope* scope;
  };

  explicit Variables(const Model& model);

  /// The origin of `text` as used by `user` in `scope`. Follows set, map, geo, split_clients and
  /// captures; at most 16 definitions deep.
  [[nodiscard]] Origin origin(std::string_view text, const Scope& scope,
                              const Directive& user) const;
  [[nodiscard]] Origin origin_of_variable(std::string_view name, const Scope& scope,
                                          const Directive& user) const;

  /// `text` with every variable filled in that exactly one `set` on the way down to `scope` gives
  /// its value.
  [[nodiscard]] std::string expanded(std::string_view text, const Scope& scope) const;
  /// The map (or geo, split_clients) that defines `name`; nullptr when none does.
  [[nodiscard]] const Directive* map_of(std::string_view name) const;
  /// What sets `name` in the server of `scope`; nullptr when nothing does.
  [[nodiscard]] const std::vector<SetAt>* sets_of(std::string_view name, const Scope& scope) const;
  /// Of these the ones on the way down to `scope`, with their ifs; all of them when there are none:
  /// an internal redirect could have passed through them.
  [[nodiscard]] std::vector<SetAt> sets_before(std::string_view name, const Scope& scope) const;
  /// True when `set` in some server gives `name` its values, and nothing else does: no map, module,
  /// or group of a pattern, and not nginx itself.
  [[nodiscard]] bool comes_from_set(std::string_view name) const;
  /// True when any value reads `name`, in whatever directive.
  [[nodiscard]] bool is_used(std::string_view name) const { return used_.contains(name); }
  /// True when `text` depends on `name`, through definitions too.
  [[nodiscard]] bool depends_on(std::string_view text,
                                const std::function<bool(std::string_view)>& hit,
                                const Scope& scope) const;

 private:
  struct Context {
    const Scope& scope;
    const Directive& user;
    std::uint32_t depth = 0;
  };
  void index_captures(const Directive& map);
  void index_groups(const Directive& directive);
  [[nodiscard]] Origin sets_origin(std::string_view name, const Context& context) const;
  [[nodiscard]] Origin text_origin(std::string_view text, const Context& context) const;
  [[nodiscard]] Origin name_origin(std::string_view name, const Context& context) const;
  [[nodiscard]] Origin map_origin(const Directive& map, const Context& context) const;
  [[nodiscard]] Origin capture_origin(std::string_view name, const Context& context) const;
  /// What `name` is when the `if` that opens `scope` captures it; nullopt when none does.
  [[nodiscard]] std::optional<Origin> captured_by_if(std::string_view name, const Scope& scope,
                                                     std::uint32_t depth) const;
  /// What `name` is when keys of maps capture it; nullopt when none does.
  [[nodiscard]] std::optional<Origin> captured_by_map(std::string_view name,
                                                      const Context& context) const;
  bool depends(std::string_view text, const std::function<bool(std::string_view)>& hit,
               const Scope& scope, std::uint32_t depth) const;

  /// Chains of maps can fan out: each question may look at so many definitions.
  static constexpr std::uint32_t kStepsMax = 1000;
  /// And all questions of one audit together: beyond it, origins are not known.
  static constexpr std::uint32_t kAllStepsMax = 500'000;

  const Model& model_;
  mutable std::uint32_t all_steps_ = 0;
  mutable std::uint32_t steps_ = 0;  ///< of the question being answered; one thread
  std::map<std::string_view, const Directive*> maps_;
  /// set and auth_request_set by variable and server: one server's values never reach another.
  std::map<std::pair<std::string_view, const Server*>, std::vector<SetAt>> sets_;
  std::multimap<std::string_view, const Directive*> captures_;  ///< entries of maps, by group
  std::set<std::string_view> groups_;                    ///< names of groups of other patterns
  std::map<std::string_view, const Directive*> unseen_;  ///< js_set, perl_set, lua …
  std::map<std::string_view, bool> used_;
  std::map<std::string_view, bool> set_;  ///< true: by `set` alone
};

/// True for "$arg_…", "$cookie_…" and "$http_…": values that a client writes byte for byte, apart
/// from the path that nginx normalised.
[[nodiscard]] bool is_written_by_client(std::string_view source) noexcept;

/// The taint of a variable that nginx itself defines; kUnseen for a name it does not.
[[nodiscard]] std::uint32_t builtin_taint(std::string_view name);

}  // namespace merlon::audit::nginx
