#include "audit/nginx/arguments.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "audit/nginx/directives.h"
#include "base/ascii.h"

namespace merlon::audit::nginx {
namespace {

bool is_number(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, ascii::is_digit);
}

/// The number that `text` is; `fallback` when it is none or a very large one.
unsigned number_or(std::string_view text, unsigned fallback) {
  unsigned out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size() ? out : fallback;
}

/// A variable's value is not known, and neither is what a template puts in its place.
bool has_variable(const Word& word) { return word.text.find('$') != std::string_view::npos; }

std::string not_taken(const Directive& directive, std::string_view argument) {
  return fmt::format("\"{}\" does not take \"{}\": is a \";\" missing?", directive.name.text,
                     argument);
}

/// What follows the address. A word that is a directive's name and no parameter of any nginx is
/// what a lost ";" leaves; other words may be parameters of builds that are not known here.
std::string refused_listen(const Directive& directive) {
  constexpr std::array<std::string_view, 12> kParameters = {
      "default_server", "default",  "ssl",  "http2",     "http3", "quic",
      "proxy_protocol", "deferred", "bind", "reuseport", "spdy",  "udp"};
  for (std::size_t i = 1; i < directive.args.size(); ++i) {
    const std::string_view word = directive.arg(i);
    if (is_known(word) && std::ranges::find(kParameters, word) == kParameters.end()) {
      return not_taken(directive, word);
    }
  }
  const std::string_view address = directive.arg(0);
  if (address.starts_with("unix:")) return {};
  const std::string_view port = address.substr(address.rfind(':') + 1);
  const unsigned number = number_or(port, 0);
  const bool valid = !is_number(port) || (number > 0 && number < 65536);
  return valid ? std::string{} : fmt::format("\"{}\" is no port: it is 1 to 65535", port);
}

std::string refused_error_page(const Directive& directive) {
  constexpr unsigned kClientClosed = 499;  // nginx's own code for a client that is gone
  for (std::size_t i = 0; i + 1 < directive.args.size(); ++i) {
    const std::string_view word = directive.arg(i);
    const bool instead = i + 2 == directive.args.size() && word.starts_with('=');
    if (instead && (word.size() == 1 || is_number(word.substr(1)))) continue;
    if (!is_number(word)) return not_taken(directive, word);
    const unsigned code = number_or(word, 0);
    if (code < 300 || code > 599 || code == kClientClosed) {
      return fmt::format("\"error_page\" takes codes from 300 to 599 but 499, not \"{}\"", word);
    }
  }
  return {};
}

std::string refused_access_log(const Directive& directive) {
  const std::size_t options_from = directive.arg(0) == "off" ? 1 : 2;
  for (std::size_t i = options_from; i < directive.args.size(); ++i) {
    const std::string_view word = directive.arg(i);
    if (word != "gzip" && !has_variable(directive.args[i]) &&
        word.find('=') == std::string_view::npos) {
      return not_taken(directive, word);
    }
  }
  return {};
}

std::string refused_rate(const Directive& directive) {
  for (const Word& word : directive.args) {
    if (!word.text.starts_with("rate=") || has_variable(word)) continue;
    std::string_view rate = word.text.substr(5);
    if (rate.ends_with("r/s") || rate.ends_with("r/m")) rate.remove_suffix(3);
    if (!is_number(rate) || number_or(rate, 1) == 0) {
      return fmt::format("\"{}\" is no rate: it is written like rate=10r/s or rate=30r/m",
                         word.text);
    }
  }
  return {};
}

std::string refused_rewrite(const Directive& directive) {
  constexpr std::array<std::string_view, 4> kFlags = {"last", "break", "redirect", "permanent"};
  const std::string_view flag = directive.arg(2);
  const bool taken = directive.args.size() < 3 || has_variable(directive.args[2]) ||
                     std::ranges::find(kFlags, flag) != kFlags.end();
  return taken ? std::string{} : not_taken(directive, flag);
}

/// What no address and no network holds; other mistakes in them are left to nginx.
std::string refused_network(const Directive& directive) {
  const std::string_view network = directive.arg(0);
  if (network == "all" || network == "unix:") return {};
  const bool is_v6 = network.find(':') != std::string_view::npos;
  const std::string_view letters = is_v6 ? "0123456789abcdefABCDEF.:/" : "0123456789./";
  const std::size_t slash = std::min(network.find('/'), network.size());
  const std::string_view bits = network.substr(std::min(slash + 1, network.size()));
  const bool wide = is_number(bits) && number_or(bits, 999) > (is_v6 ? 128U : 32U);
  if (!wide && network.find_first_not_of(letters) == std::string_view::npos) return {};
  return fmt::format("\"{}\" takes an address or a network, not \"{}\"", directive.name.text,
                     network);
}

/// In http, where it stands in a location; a stream's takes no scheme.
std::string refused_proxy_pass(const Directive& directive) {
  const std::string_view url = directive.arg(0);
  if (directive.parent == nullptr || !directive.parent->is("location")) return {};
  const auto starts = [&](std::string_view scheme) {
    return ascii::iequals(url.substr(0, scheme.size()), scheme);
  };
  if (starts("http://") || starts("https://")) return {};
  return fmt::format("\"proxy_pass\" takes a URL that starts with http:// or https://, not \"{}\"",
                     url);
}

struct Check {
  std::string_view name;
  std::string (*refused)(const Directive&);
};

constexpr std::array<Check, 8> kChecks = {{{"listen", refused_listen},
                                           {"error_page", refused_error_page},
                                           {"access_log", refused_access_log},
                                           {"limit_req_zone", refused_rate},
                                           {"rewrite", refused_rewrite},
                                           {"allow", refused_network},
                                           {"deny", refused_network},
                                           {"proxy_pass", refused_proxy_pass}}};

}  // namespace

std::string refused_arguments(const Directive& directive) {
  const auto check = std::ranges::find(kChecks, directive.name.text, &Check::name);
  if (check == kChecks.end()) return {};
  // These take variables in places that are not judged.
  const bool may_vary =
      directive.is("access_log") || directive.is("limit_req_zone") || directive.is("rewrite");
  if (!may_vary && std::ranges::any_of(directive.args, has_variable)) return {};
  return check->refused(directive);
}

}  // namespace merlon::audit::nginx
