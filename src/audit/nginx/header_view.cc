#include "audit/nginx/header_view.h"

#include <algorithm>
#include <array>
#include <set>

#include "audit/words.h"
#include "base/ascii.h"
#include "base/ip.h"

namespace merlon::audit::nginx {
namespace {

/// "X-Name: value" of more_set_headers.
bool names_header(std::string_view field, std::string_view name) {
  const std::size_t colon = field.find(':');
  return colon != std::string_view::npos &&
         ascii::iequals(ascii::trim_ows(field.substr(0, colon)), name);
}

}  // namespace

const Directive* sent_header(const Scope& scope, std::string_view name) {
  for (const Directive* header : scope.effective_all("add_header")) {
    if (ascii::iequals(header->arg(0), name)) return header;
  }
  for (const Scope* level = &scope; level != nullptr; level = level->parent) {
    for (const Directive* header : level->own_all("more_set_headers")) {
      for (const Word& word : header->args) {
        if (names_header(word.text, name)) return header;
      }
    }
  }
  return nullptr;
}

std::string_view header_value(const Directive& directive, std::string_view name) {
  for (const SentField& field : fields_of(directive)) {
    if (ascii::iequals(field.name, name)) return field.value;
  }
  return {};
}

std::vector<SentField> fields_of(const Directive& directive) {
  std::vector<SentField> out;
  if (directive.is("add_header")) out.push_back({&directive, directive.arg(0), directive.arg(1)});
  if (!directive.is("more_set_headers")) return out;
  for (const Word& word : directive.args) {
    const std::size_t colon = word.text.find(':');
    if (colon == std::string_view::npos) continue;  // an option, or a field that is removed
    out.push_back({&directive, ascii::trim_ows(word.text.substr(0, colon)),
                   ascii::trim_ows(word.text.substr(colon + 1))});
  }
  return out;
}

std::vector<SentField> own_fields(const Scope& scope, std::string_view name) {
  std::vector<SentField> out;
  for (const Name directive : {Name("add_header"), Name("more_set_headers")}) {
    for (const Directive* at : scope.own_all(directive)) {
      for (const SentField& field : fields_of(*at)) {
        if (ascii::iequals(field.name, name)) out.push_back(field);
      }
    }
  }
  return out;
}

const Directive* forwarded_header(const Scope& scope, std::string_view name) {
  const Name directive =
      scope.has("grpc_pass") ? Name("grpc_set_header") : Name("proxy_set_header");
  for (const Directive* header : scope.effective_all(directive)) {
    if (ascii::iequals(header->arg(0), name)) return header;
  }
  return nullptr;
}

bool hsts_max_age(std::string_view value, std::uint64_t& seconds) {
  constexpr std::string_view kKey = "max-age=";
  for (std::size_t at = 0; at + kKey.size() <= value.size(); ++at) {
    if (!ascii::iequals(value.substr(at, kKey.size()), kKey)) continue;
    std::string_view digits = value.substr(at + kKey.size());
    if (digits.starts_with('"')) digits.remove_prefix(1);
    seconds = 0;
    std::size_t i = 0;
    for (; i < digits.size() && i < 12 && ascii::is_digit(digits[i]); ++i) {
      seconds = seconds * 10 + static_cast<unsigned>(digits[i] - '0');
    }
    return i > 0;
  }
  return false;
}

bool trusts_named_proxies(const Scope& scope) {
  const std::vector<const Directive*> from = scope.effective_all("set_real_ip_from");
  return !from.empty() && std::ranges::none_of(from, [](const Directive* directive) {
    const auto block = Cidr::parse(directive->arg(0));
    return block && block->prefix_bits <= 4;  // everyone, said in halves or quarters
  });
}

namespace {

/// What a proxy in front says of how its client came.
bool tells_scheme(std::string_view variable) {
  return variable == "http_x_forwarded_proto" || variable == "http_x_forwarded_ssl" ||
         variable == "http_cf_visitor" || variable == "http_front_end_https";
}

/// True when what stands in an `if` sends the client elsewhere, or refuses it.
bool turns_away(const Directive& block) {
  return std::ranges::any_of(block.body, [](const Directive* one) {
    if (one->is("return")) return !one->arg(0).starts_with('2');
    const std::string_view to = one->arg(1);
    return one->is("rewrite") && (one->arg(2) == "permanent" || one->arg(2) == "redirect" ||
                                  to.starts_with("http") || to.starts_with("$scheme"));
  });
}

/// The ifs of a server, then those of its locations.
std::vector<const Scope*> ifs_of(const Server& server) {
  std::vector<const Scope*> out;
  const auto add = [&](const Scope& scope) {
    for (const Scope* child : scope.children) {
      const bool test = (child->context & (kIfInServer | kIfInLocation)) != 0;
      if (test && child->block != nullptr) out.push_back(child);
    }
  };
  add(*server.scope);
  for (const Location* location : server.all_locations) add(*location->scope);
  return out;
}

/// True when requests are turned away for the scheme that a proxy in front tells: by an `if` of the
/// server or of a location, on the field itself or on what a map, `set` or an `if` makes of it.
bool redirects_by_forwarded_scheme(const Variables& variables, const Server& server) {
  std::set<std::string_view> flags;  // set where the field has some value
  const auto tells = [&](std::string_view name) {
    return tells_scheme(name) || flags.contains(name);
  };
  for (const Scope* test : ifs_of(server)) {
    if (!variables.depends_on(if_variable(*test->block), tells, *test)) continue;
    if (turns_away(*test->block)) return true;
    for (const Directive* set : test->own_all("set")) {
      if (set->arg(0).starts_with('$')) flags.insert(set->arg(0).substr(1));
    }
  }
  return false;
}

}  // namespace

bool terminates_elsewhere(const Model& model, const Variables& variables, const Server& server) {
  const bool tls = std::ranges::any_of(model.servers, [](const Server& s) { return s.has_tls(); });
  const bool own = server.scope->has("set_real_ip_from");
  if (trusts_named_proxies(*server.scope) && (own || !tls)) return true;
  // Sockets that take PROXY lines stand behind a balancer; one without them may be reached by all.
  const auto in_clear = [](const Listen& l) { return !l.ssl && !l.quic && !l.is_local(); };
  const bool any = std::ranges::any_of(server.listens, in_clear);
  const bool balanced = std::ranges::all_of(
      server.listens, [&](const Listen& l) { return !in_clear(l) || l.proxy_protocol; });
  if (any && balanced) return true;
  return !server.has_tls() && redirects_by_forwarded_scheme(variables, server);
}

bool relies_on_forwarded_scheme(const Server& server) {
  return std::ranges::any_of(server.all_locations, [](const Location* location) {
    const Directive* header = forwarded_header(*location->scope, "X-Forwarded-Proto");
    return header != nullptr && header->arg(1) == "$http_x_forwarded_proto";
  });
}

std::string header_of(std::string_view variable) {
  constexpr std::string_view kStart = "$http_";
  if (!variable.starts_with(kStart)) return {};
  std::string out(variable.substr(kStart.size()));
  std::ranges::replace(out, '_', '-');
  return out;
}

std::string_view if_variable(const Directive& block) {
  if (!block.is("if") || block.args.empty()) return {};
  std::string_view first = block.arg(0);
  if (first.starts_with('(')) first.remove_prefix(1);
  if (first.empty()) first = block.arg(1);
  if (first.ends_with(')')) first.remove_suffix(1);
  return first.starts_with('$') ? first : std::string_view{};
}

Target parse_target(std::string_view text) {
  Target out;
  const std::size_t scheme = text.find("://");
  if (scheme != std::string_view::npos) {
    out.scheme = text.substr(0, scheme);
    text.remove_prefix(scheme + 3);
  }
  if (text.starts_with("unix:")) {
    out.host = text;
    return out;
  }
  const std::size_t slash = std::min(text.find('/'), text.size());
  out.path = text.substr(slash);
  std::string_view host = text.substr(0, slash);
  const std::size_t bracket = host.rfind(']');
  const std::size_t colon = host.rfind(':');
  const bool has_port =
      colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket);
  if (has_port) {
    out.port = host.substr(colon + 1);
    host = host.substr(0, colon);
  }
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  out.host = host;
  out.has_variable = (out.scheme + out.host + out.port).find('$') != std::string::npos;
  return out;
}

Distance distance_of(std::string_view host) {
  if (host.starts_with("unix:") || host == "localhost") return Distance::kLoopback;
  if (const auto address = IpAddress::parse(host)) {
    // As a destination the unspecified address is this host.
    if (address->is_loopback() || address->is_unspecified()) return Distance::kLoopback;
    constexpr std::array<std::string_view, 6> kPrivate = {
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10"};
    for (const std::string_view block : kPrivate) {
      const auto cidr = Cidr::parse(block);
      if (cidr && cidr->contains(*address)) return Distance::kPrivate;
    }
    return Distance::kPublic;
  }
  if (host.find('.') == std::string_view::npos) return Distance::kSingleLabel;
  for (const std::string_view suffix :
       {".local", ".internal", ".lan", ".svc", ".cluster.local", ".docker", ".home", ".consul",
        ".localdomain", ".home.arpa", ".intranet", ".corp", ".private"}) {
    if (host.ends_with(suffix)) return Distance::kPrivate;
  }
  if (host.find(".svc.") != std::string_view::npos) return Distance::kPrivate;
  return Distance::kPublic;
}

bool is_streaming_path(std::string_view path) {
  return has_word(path, {"ws",    "wss",     "*websock*", "*socket*", "sockjs", "*stream*",
                         "sse",   "event*",  "*grpc*",    "hub",      "hubs",   "*signalr*",
                         "watch", "live",    "*terminal", "*console", "notify", "notification*",
                         "*poll", "polling", "chat*"});
}

bool is_open_on_purpose(std::string_view path) {
  return is_open_by_nature(path) || path.find("/api") != std::string_view::npos ||
         path.find("/socket") != std::string_view::npos;
}

}  // namespace merlon::audit::nginx
