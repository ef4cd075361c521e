#include "http/h1_write.h"

#include <charconv>
#include <cstring>

#include "base/ascii.h"
#include "http/field_bytes.h"
#include "http/status.h"

namespace merlon::http {
namespace {

char* put(char* at, std::string_view text) noexcept {
  if (!text.empty()) std::memcpy(at, text.data(), text.size());
  return at + text.size();
}

}  // namespace

char* HeadWriter::take(std::size_t bytes) noexcept {
  if (overflowed_ || bytes > out_.size() - size_) {
    overflowed_ = true;
    return nullptr;
  }
  char* at = out_.data() + size_;
  size_ += bytes;
  return at;
}

bool HeadWriter::request_line(std::string_view method, std::string_view path,
                              std::string_view query, bool has_query) noexcept {
  constexpr std::string_view kEnd = " HTTP/1.1\r\n";
  char* at =
      take(method.size() + 1 + path.size() + (has_query ? 1 + query.size() : 0) + kEnd.size());
  if (at == nullptr) return false;
  at = put(at, method);
  *at++ = ' ';
  at = put(at, path);
  if (has_query) {
    *at++ = '?';
    at = put(at, query);
  }
  put(at, kEnd);
  return true;
}

bool HeadWriter::status_line(unsigned status, std::string_view reason) noexcept {
  if (reason.empty()) reason = reason_phrase(status);
  constexpr std::string_view kStart = "HTTP/1.1 ";
  char* at = take(kStart.size() + 4 + reason.size() + 2);
  if (at == nullptr) return false;
  at = put(at, kStart);
  *at++ = static_cast<char>('0' + status / 100 % 10);
  *at++ = static_cast<char>('0' + status / 10 % 10);
  *at++ = static_cast<char>('0' + status % 10);
  *at++ = ' ';
  at = put(at, reason);
  put(at, "\r\n");
  return true;
}

bool HeadWriter::field(std::string_view name, std::string_view value) noexcept {
  char* at = take(name.size() + 2 + value.size() + 2);
  if (at == nullptr) return false;
  at = put(at, name);
  *at++ = ':';
  *at++ = ' ';
  at = put(at, value);
  *at++ = '\r';
  *at = '\n';
  return true;
}

bool HeadWriter::field(std::string_view name, std::uint64_t value) noexcept {
  char digits[20];
  const auto [end, error] = std::to_chars(digits, digits + sizeof digits, value);
  return field(name, std::string_view(digits, static_cast<std::size_t>(end - digits)));
}

bool HeadWriter::checked_field(std::string_view name, std::string_view value) noexcept {
  if (!ascii::is_token(name) || !is_field_value(value)) return false;
  field(name, value);
  return true;
}

bool HeadWriter::end() noexcept { return raw("\r\n"); }

bool HeadWriter::raw(std::string_view bytes) noexcept {
  char* at = take(bytes.size());
  if (at == nullptr) return false;
  put(at, bytes);
  return true;
}

bool is_field_value(std::string_view value) noexcept {
  return ascii::trim_ows(value).size() == value.size() &&
         first_bad_value_byte(value) == value.size();
}

}  // namespace merlon::http
