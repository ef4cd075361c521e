#include "http/client_address.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/ascii.h"
#include "http/ip_text.h"

namespace merlon::http {
namespace {

std::unexpected<Error> bad(const char* what) noexcept {
  return fail(code::kBadForwarded, Blame::kClient, what);
}

bool is_trusted(std::span<const Cidr> trusted, const IpAddress& address) noexcept {
  return std::ranges::any_of(trusted, [&](const Cidr& block) { return block.contains(address); });
}

/// One proxy's word about the hop before it. Views into the fields.
struct Hop {
  std::string_view node;  ///< address with optional port; empty when not said
  std::string_view host;
  std::string_view proto;
};

/// What all lines of one kind say, first hop first.
struct Chain {
  std::array<Hop, kForwardedHopsMax> hops;
  std::size_t count = 0;
};

bool is_port(std::string_view text) noexcept {
  return !text.empty() && text.size() <= 5 && std::ranges::all_of(text, ascii::is_digit);
}

/// "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]" or "[2001:db8::1]:80".
std::optional<IpAddress> parse_node(std::string_view node) noexcept {
  if (node.starts_with('[')) {
    const std::size_t close = node.find(']');
    if (close == std::string_view::npos) return std::nullopt;
    const std::string_view rest = node.substr(close + 1);
    if (!rest.empty() && (rest.front() != ':' || !is_port(rest.substr(1)))) return std::nullopt;
    const std::string_view inner = node.substr(1, close - 1);
    return inner.find(':') == std::string_view::npos ? std::nullopt : IpAddress::parse(inner);
  }
  const std::size_t colon = node.find(':');
  if (colon != std::string_view::npos && node.find(':', colon + 1) == std::string_view::npos) {
    return is_port(node.substr(colon + 1)) ? IpAddress::parse(node.substr(0, colon)) : std::nullopt;
  }
  return IpAddress::parse(node);
}

Result<Chain> read_forwarded_for(const Fields& fields) noexcept {
  Chain chain;
  for (const Field& field : fields) {
    if (field.id != FieldId::kXForwardedFor) continue;
    std::string_view rest = field.value;
    while (true) {
      const std::size_t end = std::min(rest.find(','), rest.size());
      if (chain.count == kForwardedHopsMax) return bad("too many forwarded addresses");
      chain.hops[chain.count++] = {
          .node = ascii::trim_ows(rest.substr(0, end)), .host = {}, .proto = {}};
      if (end == rest.size()) break;
      rest.remove_prefix(end + 1);
    }
  }
  return chain;
}

/// Reads Forwarded (RFC 7239 §4) from left to right: quotes may hide its separators.
class ForwardedReader {
 public:
  explicit ForwardedReader(Chain& chain) noexcept : chain_(chain) {}

  Result<void> read(std::string_view value) noexcept {
    rest_ = value;
    while (true) {
      if (chain_.count == kForwardedHopsMax) return bad("too many forwarded elements");
      Hop hop{};
      if (auto ok = read_element(hop); !ok) return ok;
      chain_.hops[chain_.count++] = hop;
      skip_space();
      if (rest_.empty()) return {};
      if (!take(',')) return bad("forwarded element ends in something else than a comma");
      skip_space();
    }
  }

 private:
  /// `forwarded-element = [ pair ] *( ";" [ pair ] )`.
  Result<void> read_element(Hop& hop) noexcept {
    while (true) {
      if (!rest_.empty() && rest_.front() != ';' && rest_.front() != ',') {
        if (auto ok = read_pair(hop); !ok) return ok;
      }
      if (!take(';')) return {};
    }
  }

  Result<void> read_pair(Hop& hop) noexcept {
    const std::string_view name = take_token();
    if (name.empty() || !take('=')) return bad("forwarded parameter without name or value");
    const Result<std::string_view> value = read_value();
    if (!value) return std::unexpected(value.error());
    std::string_view* slot = ascii::iequals(name, "for")     ? &hop.node
                             : ascii::iequals(name, "host")  ? &hop.host
                             : ascii::iequals(name, "proto") ? &hop.proto
                                                             : nullptr;
    if (slot == nullptr) return {};
    if (!slot->empty()) return bad("forwarded parameter given twice");
    *slot = *value;
    return {};
  }

  /// A token or a quoted string. No address, host or scheme needs an escape, so none is read.
  Result<std::string_view> read_value() noexcept {
    if (!take('"')) {
      const std::string_view token = take_token();
      if (token.empty()) return bad("forwarded value is neither token nor quoted");
      return token;
    }
    const std::size_t end = rest_.find_first_of("\"\\");
    if (end == std::string_view::npos || rest_[end] == '\\' || end == 0) {
      return bad("forwarded quoted value is empty, unclosed or escaped");
    }
    const std::string_view value = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return value;
  }

  std::string_view take_token() noexcept {
    std::size_t end = 0;
    while (end < rest_.size() && ascii::kTokenChars.contains(rest_[end])) ++end;
    const std::string_view token = rest_.substr(0, end);
    rest_.remove_prefix(end);
    return token;
  }
  bool take(char c) noexcept {
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void skip_space() noexcept {
    while (rest_.starts_with(' ') || rest_.starts_with('\t')) rest_.remove_prefix(1);
  }

  Chain& chain_;
  std::string_view rest_;
};

Result<Chain> read_forwarded(const Fields& fields) noexcept {
  Chain chain;
  ForwardedReader reader(chain);
  for (const Field& field : fields) {
    if (field.id != FieldId::kForwarded) continue;
    if (auto ok = reader.read(field.value); !ok) return std::unexpected(ok.error());
  }
  return chain;
}

struct Found {
  IpAddress address;
  const Hop* hop = nullptr;  ///< that names the client; nullptr when the chain is empty
};

/// Walks the chain from the peer's side to the first address that is not trusted.
Result<Found> find_client(const Chain& chain, const IpAddress& peer,
                          std::span<const Cidr> trusted) noexcept {
  Found found{.address = peer};
  for (std::size_t i = chain.count; i-- > 0;) {
    const std::optional<IpAddress> address = parse_node(chain.hops[i].node);
    if (!address) return bad("forwarded entry is not an address");
    found = {.address = *address, .hop = &chain.hops[i]};
    if (!is_trusted(trusted, *address)) break;
  }
  return found;
}

Result<Scheme> parse_scheme(std::string_view text) noexcept {
  if (text.empty()) return Scheme::kUnknown;
  if (ascii::iequals(text, "https")) return Scheme::kHttps;
  if (ascii::iequals(text, "http")) return Scheme::kHttp;
  return bad("forwarded scheme is neither http nor https");
}

/// Adds one more statement about the scheme: all that are made must agree.
Result<void> merge_scheme(Scheme& into, std::string_view text) noexcept {
  const Result<Scheme> scheme = parse_scheme(text);
  if (!scheme) return std::unexpected(scheme.error());
  if (*scheme == Scheme::kUnknown) return {};
  if (into != Scheme::kUnknown && into != *scheme) return bad("forwarded schemes differ");
  into = *scheme;
  return {};
}

Result<void> read_forwarded_proto(const Fields& fields, Scheme& into) noexcept {
  for (const Field& field : fields) {
    if (field.id != FieldId::kXForwardedProto) continue;
    std::string_view rest = field.value;
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find(','), rest.size());
      if (auto ok = merge_scheme(into, ascii::trim_ows(rest.substr(0, end))); !ok) return ok;
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  return {};
}

/// The last entry of the last line: what the trusted peer itself wrote.
std::string_view last_forwarded_host(const Fields& fields) noexcept {
  std::string_view host;
  for (const Field& field : fields) {
    if (field.id == FieldId::kXForwardedHost) host = field.value;
  }
  const std::size_t comma = host.rfind(',');
  return comma == std::string_view::npos ? host : ascii::trim_ows(host.substr(comma + 1));
}

/// Appends to a buffer; once something does not fit, nothing more is.
class Appender {
 public:
  explicit Appender(std::span<char> out) noexcept : out_(out) {}
  Appender& operator<<(std::string_view text) noexcept {
    ok_ = ok_ && text.size() <= out_.size() - size_;
    if (!ok_ || text.empty()) return *this;
    std::memcpy(out_.data() + size_, text.data(), text.size());
    size_ += text.size();
    return *this;
  }
  [[nodiscard]] std::string_view text() const noexcept {
    return ok_ ? std::string_view(out_.data(), size_) : std::string_view{};
  }

 private:
  std::span<char> out_;
  std::size_t size_ = 0;
  bool ok_ = true;
};

}  // namespace

Result<ClientInfo> resolve_client(const IpAddress& peer, std::span<const Cidr> trusted,
                                  const Fields& fields) noexcept {
  ClientInfo info{.address = peer, .host = {}};
  info.peer_trusted = is_trusted(trusted, peer);
  if (!info.peer_trusted) return info;

  const Result<Chain> custom = read_forwarded_for(fields);
  if (!custom) return std::unexpected(custom.error());
  const Result<Chain> standard = read_forwarded(fields);
  if (!standard) return std::unexpected(standard.error());
  const Result<Found> by_custom = find_client(*custom, peer, trusted);
  if (!by_custom) return std::unexpected(by_custom.error());
  const Result<Found> by_standard = find_client(*standard, peer, trusted);
  if (!by_standard) return std::unexpected(by_standard.error());
  if (custom->count != 0 && standard->count != 0 && by_custom->address != by_standard->address) {
    return bad("x-forwarded-for and forwarded name different clients");
  }
  const Found& found = custom->count != 0 ? *by_custom : *by_standard;
  info.address = found.address;

  if (auto ok = read_forwarded_proto(fields, info.scheme); !ok) return std::unexpected(ok.error());
  info.host = last_forwarded_host(fields);
  if (const Hop* hop = by_standard->hop; hop != nullptr) {
    if (auto ok = merge_scheme(info.scheme, hop->proto); !ok) return std::unexpected(ok.error());
    if (info.host.empty()) info.host = hop->host;
  }
  return info;
}

std::string_view write_forwarded_for(const ClientInfo& client, const IpAddress& peer,
                                     std::span<char> out) noexcept {
  Appender text(out);
  text << IpText(client.address).view();
  if (client.address != peer) text << ", " << IpText(peer).view();
  return text.text();
}

std::string_view write_forwarded(const ClientInfo& client, std::string_view host, Scheme scheme,
                                 std::span<char> out) noexcept {
  Appender text(out);
  const bool v6 = client.address.is_v6();
  text << (v6 ? "for=\"[" : "for=") << IpText(client.address).view() << (v6 ? "]\"" : "");
  if (!host.empty()) text << ";host=\"" << host << "\"";
  if (scheme != Scheme::kUnknown)
    text << (scheme == Scheme::kHttps ? ";proto=https" : ";proto=http");
  return text.text();
}

}  // namespace merlon::http
