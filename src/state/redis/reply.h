#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

struct redisReader;

/// What Redis answers: RESP2, read by hiredis within bounds of ours.
namespace merlon::state::redis {

/// One value of a reply. The members of an array follow it, each with its own members behind it.
struct Value {
  enum class Kind : std::uint8_t { kNil, kInteger, kText, kStatus, kError, kArray };
  Kind kind = Kind::kNil;
  std::int64_t integer = 0;  ///< the number, or how many members an array has
  std::uint32_t text_at = 0;
  std::uint32_t text_bytes = 0;
};

/// One reply: its values in the order in which they were sent. Bounded, since Redis may be anybody
/// who answers at its address.
class Reply {
 public:
  static constexpr std::size_t kValuesMax = 8192;
  static constexpr std::size_t kTextBytesMax = 128UL * 1024;

  [[nodiscard]] std::span<const Value> values() const noexcept { return values_; }
  [[nodiscard]] const Value& top() const noexcept { return values_.front(); }
  /// Of a text, status or error; lives as long as the reply does not change.
  [[nodiscard]] std::string_view text(const Value& value) const noexcept {
    return std::string_view(text_).substr(value.text_at, value.text_bytes);
  }
  [[nodiscard]] bool is_error() const noexcept { return top().kind == Value::Kind::kError; }
  /// True for an error that begins with this word: "NOSCRIPT".
  [[nodiscard]] bool is_error(std::string_view word) const noexcept;
  /// The text of an error, a status or a text; "" of anything else.
  [[nodiscard]] std::string_view text() const noexcept { return text(top()); }
  /// True, with the numbers, when it is an array of exactly so many integers.
  [[nodiscard]] bool integers(std::span<std::int64_t> out) const noexcept;
  /// The place behind the value at `at` and all its members.
  [[nodiscard]] std::size_t skip(std::size_t at) const noexcept;

  void clear() noexcept {
    values_.clear();
    text_.clear();
  }
  /// False when there is no room: the reply is refused.
  [[nodiscard]] bool add(Value::Kind kind, std::int64_t integer, std::string_view text);

 private:
  std::vector<Value> values_;
  std::string text_;
};

/// Turns bytes into replies. After an error it reads nothing any more: the connection is over.
class ReplyReader {
 public:
  ReplyReader();
  ReplyReader(const ReplyReader&) = delete;
  ReplyReader& operator=(const ReplyReader&) = delete;
  ~ReplyReader();

  /// kStateProtocol for what is no reply or beyond the bounds, kResources when memory is short.
  [[nodiscard]] Result<void> feed(std::string_view bytes);
  /// The next whole reply, valid until the next call; nullptr when more bytes are needed.
  [[nodiscard]] Result<const Reply*> next();

 private:
  redisReader* reader_;
  Reply reply_;
  std::size_t unread_bytes_ = 0;  ///< fed since the last whole reply
  bool broken_ = false;
};

/// A command, appended to `out` as an array of bulk strings.
void write_command(std::string& out, std::span<const std::string_view> words);

}  // namespace merlon::state::redis
