#pragma once

#include <string>
#include <string_view>

/// Text of others, made harmless for a form. What is not UTF-8 becomes visible escapes or U+FFFD.
namespace merlon::audit::report {

/// For a terminal: control characters (C0, DEL, C1), bidirectional and invisible formatting
/// characters and bytes that are not UTF-8 are shown as "\x1b" or "\u{202e}"; a tab is one blank.
[[nodiscard]] std::string printable(std::string_view text);

/// One character of `text` as `printable` shows it: appended to `out`. Returns the bytes taken
/// from `text` (0 when it is empty); `columns` is how many columns it takes, about (wide ones
/// count as one).
std::size_t append_printable(std::string& out, std::string_view text, std::size_t& columns);

/// For the contents and the quoted attribute values of XML 1.0 and HTML. Characters that XML 1.0
/// §2.2 does not allow and the formatting ones above are shown as `printable` does; line feeds and
/// tabs are kept.
[[nodiscard]] std::string xml(std::string_view text);

/// A path as a URI reference (RFC 3986 §4.1): absolute ones as file:///…, others relative without
/// a leading "./"; all but unreserved characters and "/" are percent-encoded.
[[nodiscard]] std::string uri_of_path(std::string_view path);

}  // namespace merlon::audit::report
