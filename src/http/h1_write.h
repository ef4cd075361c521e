#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace merlon::http {

/// Writes the head of a message into the caller's buffer. Never past its end: once something does
/// not fit, nothing more is written and overflowed() stays true. Every call returns !overflowed(),
/// so a caller may check once, at end().
///
/// Bytes are copied as they are. Names and values that were parsed are clean; for a value from
/// elsewhere (a claim, a configuration) use checked_field().
class HeadWriter {
 public:
  explicit HeadWriter(std::span<char> out) noexcept : out_(out) {}

  /// "GET /path?query HTTP/1.1". `has_query` writes the '?' even for an empty query.
  bool request_line(std::string_view method, std::string_view path, std::string_view query,
                    bool has_query) noexcept;
  /// "HTTP/1.1 404 Not Found"; the registered reason when `reason` is empty.
  bool status_line(unsigned status, std::string_view reason = {}) noexcept;
  bool field(std::string_view name, std::string_view value) noexcept;
  bool field(std::string_view name, std::uint64_t value) noexcept;
  /// As field(), but false and nothing written when the name is no token or the value has a byte
  /// that a field value cannot have (RFC 9110 §5.5). Says nothing about overflow: ask overflowed().
  bool checked_field(std::string_view name, std::string_view value) noexcept;
  /// The empty line. True when the whole head is in the buffer.
  bool end() noexcept;
  /// Bytes as they are, such as a small body after end().
  bool raw(std::string_view bytes) noexcept;

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool overflowed() const noexcept { return overflowed_; }
  /// What has been written.
  [[nodiscard]] std::string_view text() const noexcept { return {out_.data(), size_}; }

 private:
  /// Room for `bytes` more, or nullptr and overflowed.
  char* take(std::size_t bytes) noexcept;

  std::span<char> out_;
  std::size_t size_ = 0;
  bool overflowed_ = false;
};

/// True when every byte may stand in a field value: visible ASCII, SP, HTAB and 0x80 to 0xff, with
/// no white space at the ends (RFC 9110 §5.5).
[[nodiscard]] bool is_field_value(std::string_view value) noexcept;

}  // namespace merlon::http
