#include "http/proxy_protocol.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/ascii.h"

namespace merlon::http {
namespace {

constexpr std::string_view kV1Start = "PROXY ";
constexpr std::string_view kV2Signature("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr std::size_t kV2HeaderBytes = 16;
constexpr std::uint8_t kTlvCrc32c = 0x03;
constexpr std::size_t kTlvHeaderBytes = 3;

std::unexpected<Error> bad(const char* what, std::size_t offset = 0) noexcept {
  return fail(code::kBadProxyHeader, Blame::kClient, what, static_cast<std::uint32_t>(offset));
}

/// Cuts off the text up to the next space; all of it when there is none.
std::string_view take_word(std::string_view& line) noexcept {
  const std::size_t end = std::min(line.find(' '), line.size());
  const std::string_view word = line.substr(0, end);
  line.remove_prefix(std::min(end + 1, line.size()));
  return word;
}

/// 0 to 65535 without leading zeros.
std::optional<std::uint16_t> parse_port(std::string_view text) noexcept {
  if (text.empty() || text.size() > 5 || (text.size() > 1 && text.front() == '0')) return {};
  std::uint32_t port = 0;
  for (const char c : text) {
    if (!ascii::is_digit(c)) return {};
    port = port * 10 + static_cast<std::uint32_t>(c - '0');
  }
  if (port > 65535) return {};
  return static_cast<std::uint16_t>(port);
}

/// An address in the notation of its family: an IPv6 one may be IPv4-mapped, and is IPv4 then.
std::optional<IpAddress> parse_address(std::string_view text, bool v6) noexcept {
  if (v6 != (text.find(':') != std::string_view::npos)) return {};
  return IpAddress::parse(text);
}

/// The line after "PROXY ", without CRLF.
Result<ProxyHeader> parse_v1_line(std::string_view line, std::size_t size_bytes) noexcept {
  ProxyHeader header{.size_bytes = size_bytes, .source = {}, .destination = {}};
  const std::string_view family = take_word(line);
  // "UNKNOWN": what follows must be ignored, and the socket's addresses be used.
  if (family == "UNKNOWN") return header;
  if (family != "TCP4" && family != "TCP6") return bad("PROXY family is unknown");
  const bool v6 = family == "TCP6";
  const auto source = parse_address(take_word(line), v6);
  const auto destination = parse_address(take_word(line), v6);
  const auto source_port = parse_port(take_word(line));
  const bool last = line.find(' ') == std::string_view::npos;
  const auto destination_port = parse_port(line);
  if (!source || !destination || !source_port || !destination_port || !last) {
    return bad("PROXY line is not two addresses and two ports");
  }
  header.source = Endpoint{.address = *source, .port = *source_port};
  header.destination = Endpoint{.address = *destination, .port = *destination_port};
  return header;
}

Result<ProxyHeader> parse_v1(std::string_view data) noexcept {
  const std::string_view window = data.substr(0, kProxyV1BytesMax);
  const std::size_t end = window.find_first_of("\r\n");
  for (std::size_t i = kV1Start.size(); i < std::min(end, window.size()); ++i) {
    if (window[i] < 0x20 || window[i] > 0x7e) return bad("PROXY line has a control character", i);
  }
  if (end == std::string_view::npos) {
    if (window.size() == kProxyV1BytesMax) return bad("PROXY line is too long", window.size());
    return ProxyHeader{};
  }
  if (window[end] == '\n') return bad("PROXY line ends in LF without CR", end);
  if (end + 1 == window.size()) {
    if (window.size() == kProxyV1BytesMax) return bad("PROXY line is too long", end);
    return ProxyHeader{};
  }
  if (window[end + 1] != '\n') return bad("PROXY line has CR without LF", end);
  return parse_v1_line(window.substr(kV1Start.size(), end - kV1Start.size()), end + 2);
}

std::uint32_t big_endian(std::string_view bytes) noexcept {
  std::uint32_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

/// CRC32C (RFC 9260 appendix A): polynomial 0x1EDC6F41, reflected.
constexpr auto kCrcTable = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78U : 0U);
    table[i] = crc;
  }
  return table;
}();

/// Over the whole header with the four bytes at `hole` taken for zero, where the sum itself stands.
std::uint32_t crc32c(std::string_view bytes, std::size_t hole) noexcept {
  std::uint32_t crc = 0xffffffffU;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const bool zero = i >= hole && i < hole + 4;
    const auto byte = static_cast<unsigned char>(zero ? '\0' : bytes[i]);
    crc = kCrcTable[(crc ^ byte) & 0xff] ^ (crc >> 8);
  }
  return ~crc;
}

Result<void> check_tlvs(std::string_view header, std::size_t at) noexcept {
  while (at < header.size()) {
    if (header.size() - at < kTlvHeaderBytes) return bad("TLV is cut off", at);
    const std::size_t length = big_endian(header.substr(at + 1, 2));
    const std::size_t value = at + kTlvHeaderBytes;
    if (length > header.size() - value) return bad("TLV is longer than the header", at);
    if (static_cast<std::uint8_t>(header[at]) == kTlvCrc32c) {
      if (length != 4) return bad("CRC32C is not four bytes", at);
      if (big_endian(header.substr(value, 4)) != crc32c(header, value)) {
        return bad("CRC32C does not match", at);
      }
    }
    at = value + length;
  }
  return {};
}

IpAddress address_at(std::string_view bytes, bool v6) noexcept {
  if (!v6) return IpAddress::v4(big_endian(bytes.substr(0, 4)));
  std::array<std::uint8_t, 16> raw;
  std::memcpy(raw.data(), bytes.data(), raw.size());
  return IpAddress::v6(raw);
}

Endpoint endpoint_at(std::string_view address, std::string_view port, bool v6) noexcept {
  return {.address = address_at(address, v6),
          .port = static_cast<std::uint16_t>(big_endian(port.substr(0, 2)))};
}

/// A whole version 2 header, of the PROXY command.
Result<ProxyHeader> parse_v2_addresses(std::string_view header) noexcept {
  ProxyHeader result{.size_bytes = header.size(), .source = {}, .destination = {}};
  std::size_t addresses_bytes = 0;
  switch (static_cast<std::uint8_t>(header[13])) {
    case 0x00:  // UNSPEC: whatever follows is not to be read
      return result;
    case 0x11:  // TCP over IPv4
      addresses_bytes = 12;
      break;
    case 0x21:  // TCP over IPv6
      addresses_bytes = 36;
      break;
    case 0x31:  // UNIX stream: two paths of 108 bytes, of no use to us
      addresses_bytes = 216;
      break;
    default:
      return bad("PROXY family or transport is not served", 13);
  }
  if (header.size() - kV2HeaderBytes < addresses_bytes) return bad("PROXY addresses are cut off");
  if (auto ok = check_tlvs(header, kV2HeaderBytes + addresses_bytes); !ok) {
    return std::unexpected(ok.error());
  }
  if (addresses_bytes == 216) return result;
  const bool v6 = addresses_bytes == 36;
  const std::size_t one = v6 ? 16 : 4;
  const std::string_view block = header.substr(kV2HeaderBytes);
  result.source = endpoint_at(block, block.substr(2 * one), v6);
  result.destination = endpoint_at(block.substr(one), block.substr(2 * one + 2), v6);
  return result;
}

Result<ProxyHeader> parse_v2(std::string_view data) noexcept {
  if (data.size() > 12 && static_cast<std::uint8_t>(data[12]) != 0x20 &&
      static_cast<std::uint8_t>(data[12]) != 0x21) {
    return bad("PROXY version or command is unknown", 12);
  }
  if (data.size() < kV2HeaderBytes) return ProxyHeader{};
  const std::size_t payload = big_endian(data.substr(14, 2));
  if (payload > kProxyV2PayloadBytesMax) return bad("PROXY header is too long", 14);
  if (data.size() < kV2HeaderBytes + payload) return ProxyHeader{};
  const std::string_view header = data.substr(0, kV2HeaderBytes + payload);
  const bool local = static_cast<std::uint8_t>(data[12]) == 0x20;
  if (local) return ProxyHeader{.size_bytes = header.size(), .source = {}, .destination = {}};
  return parse_v2_addresses(header);
}

}  // namespace

Result<ProxyHeader> parse_proxy_header(std::string_view data) noexcept {
  const auto begins = [&](std::string_view start) {
    return data.substr(0, start.size()) == start.substr(0, data.size());
  };
  if (data.empty()) return ProxyHeader{};
  if (begins(kV2Signature)) return parse_v2(data);
  if (begins(kV1Start)) return parse_v1(data);
  return bad("connection does not begin with a PROXY header");
}

}  // namespace merlon::http
