#include <fmt/format.h>

#include "base/ascii.h"
#include "config/schema.h"
#include "config/shown.h"

/// The scalar types of schema.h.
namespace merlon::config {
namespace {

constexpr std::size_t kQuantityBytesMax = 32;  // no number with a unit is longer

template <class T>
using Parsed = std::expected<T, std::string>;

bool has_control(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) return true;
  }
  return false;
}

/// Why a text cannot be a quantity: messages of base/units.h quote it as it is.
std::string_view problem_of_quantity(std::string_view text) {
  if (text.size() > kQuantityBytesMax) return "it is too long";
  return has_control(text) ? "it has a control character" : "";
}

/// Runs a parser of base/units.h and judges the range. `format` writes the bounds.
template <class T, class Parse, class Format>
Parsed<T> parse_quantity(std::string_view text, Parse parse, T min, T max, Format format) {
  if (const auto wrong = problem_of_quantity(text); !wrong.empty()) {
    return std::unexpected(std::string(wrong));
  }
  Parsed<T> value = parse(text);
  if (!value.has_value()) return value;
  if (*value < min) return std::unexpected(fmt::format("the minimum is {}", format(min)));
  if (*value > max) return std::unexpected(fmt::format("the maximum is {}", format(max)));
  return value;
}

Parsed<std::uint64_t> parse_decimal(std::string_view text) {
  if (text.empty()) return std::unexpected("it is empty");
  for (const char c : text) {
    if (!ascii::is_digit(c)) return std::unexpected("it is not a whole number");
  }
  if (text.size() > 1 && text.front() == '0') return std::unexpected("it has a leading zero");
  std::uint64_t value = 0;
  for (const char c : text) {
    const auto digit = static_cast<std::uint64_t>(c - '0');
    if (value > (UINT64_MAX - digit) / 10) return std::unexpected("it is too large");
    value = value * 10 + digit;
  }
  return value;
}

std::string decimal(std::uint64_t value) { return std::to_string(value); }

/// Fills what `custom` leaves open: form and bounds.
template <class T>
Type<T> with_form(Type<T> type, Shape::Form form, std::optional<std::uint64_t> min = {},
                  std::optional<std::uint64_t> max = {}) {
  const auto shape = std::make_shared<Shape>(*type.shape);
  shape->form = form;
  shape->minimum = min;
  shape->maximum = max;
  type.shape = shape;
  return type;
}

Type<std::uint64_t> unquoted_integer(Custom<std::uint64_t> parts) {
  Type<std::uint64_t> type = custom<std::uint64_t>(std::move(parts));
  type.read = [read = type.read, shape = type.shape](const Node& node, std::uint64_t& out,
                                                     Reader& reader) {
    if (node.is_scalar() && node.quoted()) {
      detail::report_value(node, *shape, "text in quotes is not a number", reader);
      return false;
    }
    return read(node, out, reader);
  };
  return type;
}

constexpr std::string_view kNamePattern = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$";

}  // namespace

Type<std::string> text(std::size_t length_min, std::size_t length_max) {
  const auto parse = [length_min, length_max](std::string_view value) -> Parsed<std::string> {
    if (value.size() < length_min) {
      return std::unexpected(value.empty() ? std::string("it is empty")
                                           : fmt::format("it needs {} bytes", length_min));
    }
    if (value.size() > length_max) {
      return std::unexpected(
          fmt::format("it has {} bytes, {} are allowed", value.size(), length_max));
    }
    if (has_control(value)) return std::unexpected("it has a control character");
    return std::string(value);
  };
  return with_form(
      custom<std::string>({.name = fmt::format("text of up to {} bytes", length_max),
                           .example = "",
                           .pattern = "",
                           .parse = parse,
                           .format = [](const std::string& v) { return detail::yaml_scalar(v); }}),
      Shape::Form::kText, length_min, length_max);
}

Type<std::string> name() {
  static constexpr auto kChars =
      ascii::CharSet("_-.").add_range('a', 'z').add_range('A', 'Z').add_range('0', '9');
  const auto parse = [](std::string_view value) -> Parsed<std::string> {
    if (value.empty() || value.size() > 64) return std::unexpected("a name has 1 to 64 characters");
    if (!kChars.contains_all(value)) {
      return std::unexpected("a name is made of letters, digits, `-`, `_` and `.`");
    }
    if (value.front() == '-' || value.front() == '.') {
      return std::unexpected("a name starts with a letter, a digit or `_`");
    }
    return std::string(value);
  };
  return custom<std::string>({.name = "a name",
                              .example = "orders",
                              .pattern = std::string(kNamePattern),
                              .parse = parse,
                              .format = [](const std::string& v) { return v; }});
}

Type<bool> boolean() {
  Type<bool> type = with_form(
      custom<bool>({.name = "`true` or `false`",
                    .example = "true",
                    .pattern = "",
                    .parse = [](std::string_view) -> Parsed<bool> { return std::unexpected(""); },
                    .format = [](const bool& v) { return std::string(v ? "true" : "false"); }}),
      Shape::Form::kBoolean);
  type.read = [shape = type.shape](const Node& node, bool& out, Reader& reader) {
    if (!detail::expect_scalar(node, *shape, reader)) return false;
    const std::string_view value = node.text();
    if (!node.quoted() && (value == "true" || value == "false")) {
      out = value == "true";
      return true;
    }
    std::string help = node.quoted() ? "write it without quotes" : "write `true` or `false`";
    for (const std::string_view yes : {"yes", "on", "y", "1", "true"}) {
      if (ascii::iequals(value, yes)) help = "write `true`";
    }
    for (const std::string_view no : {"no", "off", "n", "0", "false"}) {
      if (ascii::iequals(value, no)) help = "write `false`";
    }
    if (node.quoted()) help += ", without quotes";
    reader.error(node.at(), fmt::format("expected {}, found {}", shape->name, shown(value)), help);
    return false;
  };
  return type;
}

Type<std::uint64_t> integer(std::uint64_t min, std::uint64_t max) {
  const auto parse = [min, max](std::string_view value) {
    return parse_quantity<std::uint64_t>(value, parse_decimal, min, max, decimal);
  };
  return with_form(
      unquoted_integer({.name = min == max ? fmt::format("the number {}", min)
                                           : fmt::format("a whole number from {} to {}", min, max),
                        .example = decimal(min),
                        .pattern = "",
                        .parse = parse,
                        .format = decimal}),
      Shape::Form::kInteger, min, max);
}

Type<std::uint64_t> bytes(std::uint64_t min, std::uint64_t max) {
  const auto parse = [min, max](std::string_view value) {
    return parse_quantity<std::uint64_t>(value, parse_bytes, min, max, format_bytes);
  };
  return custom<std::uint64_t>({.name = fmt::format("an amount of bytes from {} to {}",
                                                    format_bytes(min), format_bytes(max)),
                                .example = format_bytes(max),
                                .pattern = "^(0|[1-9][0-9]*)(B|KiB|MiB|GiB)$",
                                .parse = parse,
                                .format = format_bytes});
}

Type<milliseconds> duration(milliseconds min, milliseconds max) {
  const auto parse = [min, max](std::string_view value) {
    return parse_quantity<milliseconds>(value, parse_duration, min, max, format_duration);
  };
  return custom<milliseconds>(
      {.name = fmt::format("a time from {} to {}", format_duration(min), format_duration(max)),
       .example = format_duration(max),
       .pattern = "^(0|[1-9][0-9]*)(ms|s|min|h|d)$",
       .parse = parse,
       .format = format_duration});
}

Type<Rate> rate(std::uint64_t events_max) {
  const auto parse = [events_max](std::string_view value) -> Parsed<Rate> {
    if (const auto wrong = problem_of_quantity(value); !wrong.empty()) {
      return std::unexpected(std::string(wrong));
    }
    Parsed<Rate> parsed = parse_rate(value);
    if (parsed.has_value() && parsed->events > events_max) {
      return std::unexpected(fmt::format("the maximum is {} events", events_max));
    }
    return parsed;
  };
  return custom<Rate>({.name = "a rate",
                       .example = "10/s",
                       .pattern = "^[1-9][0-9]*/(s|min|h|day|month)$",
                       .parse = parse,
                       .format = format_rate});
}

Type<std::uint32_t> percent(std::uint32_t min, std::uint32_t max) {
  const auto format = [](const std::uint32_t& value) { return fmt::format("{}%", value); };
  const auto parse = [min, max, format](std::string_view value) {
    return parse_quantity<std::uint32_t>(value, parse_percent, min, max, format);
  };
  return custom<std::uint32_t>({.name = fmt::format("a percentage from {}% to {}%", min, max),
                                .example = fmt::format("{}%", min + (max - min) / 5),
                                .pattern = "^(0|[1-9][0-9]*)%$",
                                .parse = parse,
                                .format = format});
}

Type<std::uint16_t> port() {
  Type<std::uint16_t> type = converted<std::uint16_t, std::uint64_t>(
      integer(1, 65'535), [](std::uint64_t value) { return static_cast<std::uint16_t>(value); },
      [](const std::uint16_t& value) { return std::uint64_t{value}; });
  const auto shape = std::make_shared<Shape>(*type.shape);
  shape->example = "8443";
  type.shape = shape;
  return type;
}

namespace {

/// A type whose class has `parse` and `to_string`, as those of base/ip.h have.
template <class T>
Type<T> parsed_by_class(const char* name, const char* example, const char* wrong) {
  const auto parse = [wrong](std::string_view value) -> Parsed<T> {
    if (const std::optional<T> parsed = T::parse(value)) return *parsed;
    return std::unexpected(wrong);
  };
  const auto format = [](const T& value) { return detail::yaml_scalar(value.to_string()); };
  return custom<T>(
      {.name = name, .example = example, .pattern = "", .parse = parse, .format = format});
}

}  // namespace

Type<Endpoint> endpoint() {
  return parsed_by_class<Endpoint>(
      "an address with port", "10.0.0.11:8443",
      "it is an IPv4 address, or an IPv6 address in brackets, then `:` "
      "and a port from 1 to 65535");
}

Type<IpAddress> ip_address() {
  return parsed_by_class<IpAddress>("an IP address", "192.0.2.1",
                                    "it is neither an IPv4 nor an IPv6 address");
}

Type<Cidr> cidr() {
  return parsed_by_class<Cidr>(
      "a network", "10.0.0.0/8",
      "it is an address, `/` and a prefix length, with every bit after the "
      "prefix zero");
}

namespace {

Type<FilePath> file_type(std::string kind) {
  constexpr std::size_t kPathBytesMax = 4095;  // PATH_MAX less its final NUL
  auto shape = std::make_shared<Shape>();
  shape->name = std::move(kind);
  shape->example = "file.pem";
  shape->minimum = 1;
  shape->maximum = kPathBytesMax;
  Type<FilePath> type;
  type.shape = shape;
  type.read = [shape](const Node& node, FilePath& out, Reader& reader) {
    if (!detail::expect_scalar(node, *shape, reader)) return false;
    const std::string_view written = node.text();
    if (written.empty() || written.size() > kPathBytesMax || has_control(written)) {
      detail::report_value(node, *shape, "a path has 1 to 4095 bytes and no control characters",
                           reader);
      return false;
    }
    out.written = written;
    const bool as_is = written.front() == '/' || reader.directory() == ".";
    out.path = as_is ? out.written : reader.directory() + "/" + out.written;
    return true;
  };
  type.format = [](const FilePath& value) { return detail::yaml_scalar(value.written); };
  return type;
}

}  // namespace

Type<FilePath> file() { return file_type("the name of a file"); }
Type<FilePath> secret_file() {
  return file_type("the name of a file that only its owner may read");
}

}  // namespace merlon::config
