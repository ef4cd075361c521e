#include "audit/nginx/unfilled.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "audit/nginx/variables.h"
#include "base/ascii.h"

namespace merlon::audit::nginx {
namespace {

bool is_name_char(char c) noexcept { return ascii::is_alnum(c) || c == '_'; }

/// nginx takes "$Name" and "$name" for the same variable.
std::string lower(std::string_view name) {
  std::string out(name);
  std::ranges::transform(out, out.begin(), ascii::lower);
  return out;
}

/// The names that stand where directives define variables, as a whole argument or as the group of
/// a regular expression. Some of them are only used there, which does no harm.
void add_defined(std::string_view text, std::set<std::string, std::less<>>& out) {
  if (text.starts_with('$') && std::ranges::all_of(text.substr(1), is_name_char)) {
    out.insert(lower(text.substr(1)));
  }
  for (std::size_t at = text.find("(?"); at != std::string_view::npos;
       at = text.find("(?", at + 1)) {
    const std::size_t from = text.find_first_of("<'", at);
    const std::size_t end =
        text.find_first_of(">'", from == std::string_view::npos ? from : from + 1);
    if (end != std::string_view::npos) out.insert(lower(text.substr(from + 1, end - from - 1)));
  }
}

std::set<std::string, std::less<>> defined_names(const Tree& tree) {
  std::set<std::string, std::less<>> out;
  for (const Directive& directive : tree.directives) {
    add_defined(directive.name.text, out);
    for (const Word& word : directive.args) add_defined(word.text, out);
  }
  return out;
}

/// "${NAME}", as nobody writes variables of nginx's own.
bool is_in_capitals(std::string_view text, const VariableUse& use) {
  const std::string_view whole = text.substr(use.at, use.length);
  return whole.starts_with("${") && whole.ends_with('}') && use.name.size() > 1 &&
         std::ranges::any_of(use.name, [](char c) { return c >= 'A' && c <= 'Z'; }) &&
         std::ranges::none_of(use.name, [](char c) { return c >= 'a' && c <= 'z'; });
}

/// "@DOMAIN@", as autoconf and its like fill in; "" when the text holds none.
std::string_view at_placeholder(std::string_view text) {
  for (std::size_t at = text.find('@'); at != std::string_view::npos; at = text.find('@', at + 1)) {
    const std::string_view rest = text.substr(at + 1);
    const std::size_t length =
        std::min(rest.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"), rest.size());
    if (length > 0 && length < rest.size() && rest[length] == '@')
      return text.substr(at, length + 2);
  }
  return {};
}

/// True for directives whose arguments are names, addresses and paths: a mark of a template in them
/// is nothing else.
bool takes_plain_words(const Directive& directive) {
  constexpr std::string_view kNames[] = {"server_name", "root",       "alias",
                                         "listen",      "proxy_pass", "proxy_set_header"};
  const std::string_view name = directive.name.text;
  return std::ranges::find(kNames, name) != std::end(kNames) ||
         name.find("_certificate") != std::string_view::npos;
}

/// The mark of a template language that a word was left with; "" when it has none.
std::string_view template_mark(const Directive& directive, const Word& word) {
  const bool plain = takes_plain_words(directive);
  if (word.quoted && !plain) return {};
  for (const std::string_view mark : {"<%", "{%", "{{"}) {
    const std::size_t at = word.text.find(mark);
    if (at == 0 || (plain && at != std::string_view::npos)) return mark;
  }
  return plain ? at_placeholder(word.text) : std::string_view{};
}

}  // namespace

std::vector<Unfilled> unfilled_places(const Model& model) {
  std::vector<Unfilled> out;
  const bool knows_variables =
      std::ranges::any_of(model.servers, [](const Server& s) { return s.at().is("server"); });
  const auto defined = defined_names(model.tree);
  std::set<const Source*> told;
  for (const Directive& directive : model.tree.directives) {
    const std::string_view name = directive.name.text;
    // What is no directive of nginx's may mean anything, and so may a program in quotes.
    if (!directive.known || name.find("_by_") != std::string_view::npos) continue;
    for (const Word& word : directive.args) {
      const std::string_view mark = template_mark(directive, word);
      if (!mark.empty() && told.insert(directive.file.get()).second) {
        out.push_back({&directive, &word, std::string(mark)});
      }
      for (const VariableUse& use : variables_in(word.text)) {
        const bool is_unfilled =
            directive.is("listen") || (knows_variables && is_in_capitals(word.text, use) &&
                                       !defined.contains(lower(use.name)));
        if (!is_unfilled || !told.insert(directive.file.get()).second) continue;
        out.push_back({&directive, &word, std::string(word.text.substr(use.at, use.length))});
      }
    }
  }
  return out;
}

}  // namespace merlon::audit::nginx
