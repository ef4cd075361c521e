#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/secret.h"
#include "base/time.h"
#include "io/broker.h"

namespace merlon::telemetry {

enum class Level : std::uint8_t { kDebug, kInfo, kWarning, kError };

/// "debug", "info", "warning", "error".
[[nodiscard]] std::string_view level_name(Level level) noexcept;

/// The name of an event or of a field: a literal of `a-z`, `0-9` and `_`, checked at compile time,
/// so that no text of a peer can become one.
class Name {
 public:
  template <std::size_t N>
  consteval Name(const char (&literal)[N]) : text_(literal, N - 1) {
    if (N < 2 || N > 49) throw "a name has 1 to 48 characters";
    for (const char c : text_) {
      if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_')) throw "a-z, 0-9, _";
    }
  }
  [[nodiscard]] constexpr std::string_view text() const noexcept { return text_; }

 private:
  std::string_view text_;
};

/// One typed member of an event. Made by `num`, `str` and `yes_no`; holds views, so use it at once.
struct EventField {
  enum class Kind : std::uint8_t { kUnsigned, kSigned, kText, kBoolean };
  Name name;
  Kind kind;
  std::uint64_t number = 0;
  std::string_view text{};
};

template <std::unsigned_integral T>
  requires(!std::same_as<T, bool>)
[[nodiscard]] constexpr EventField num(Name name, T value) noexcept {
  return {.name = name, .kind = EventField::Kind::kUnsigned, .number = value};
}
template <std::signed_integral T>
[[nodiscard]] constexpr EventField num(Name name, T value) noexcept {
  return {.name = name,
          .kind = EventField::Kind::kSigned,
          .number = static_cast<std::uint64_t>(static_cast<std::int64_t>(value))};
}
/// Bytes of a peer may be given: they are escaped, made valid UTF-8 and cut at 512 bytes.
[[nodiscard]] constexpr EventField str(Name name, std::string_view value) noexcept {
  return {.name = name, .kind = EventField::Kind::kText, .text = value};
}
EventField str(Name name, const Secret& value) = delete;  // a secret is never logged
[[nodiscard]] constexpr EventField yes_no(Name name, std::same_as<bool> auto value) noexcept {
  return {.name = name, .kind = EventField::Kind::kBoolean, .number = value ? 1U : 0U};
}
/// A duration in microseconds. `name` ends in `_us`.
[[nodiscard]] constexpr EventField dur(Name name, microseconds value) noexcept {
  return num(name, static_cast<std::int64_t>(value.count()));
}

/// How often one event name may be written: `burst` at once, then `per_second`.
struct EventBudget {
  std::uint32_t burst = 20;
  std::uint32_t per_second = 5;
};

struct EventLogOptions {
  std::string target = "-";  ///< a file, or "-" for standard error
  Level level = Level::kInfo;
  EventBudget budget{};
};

/// The process log: one JSON object a line, with a constant event name and typed fields.
///
/// Thread-safe. Each event name has a budget, so that nobody outside can fill the disk: what is
/// over it is counted, and the count stands as `suppressed` in the next line of that name, or in an
/// `events_suppressed` line a minute later or at the end. Never waits: a line for which a pipe has
/// no room, or a disk no space, is dropped and counted. Cost: a mutex and a write(2), so not for
/// every request.
class EventLog {
 public:
  /// `broker` (for files) and `clock` must outlive the log.
  [[nodiscard]] static io::OsResult<std::unique_ptr<EventLog>> open(io::Broker& broker,
                                                                    const Clock& clock,
                                                                    EventLogOptions options);
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;
  ~EventLog();

  /// Writes a line of at most 4 KiB, if `level` is enabled and the budget of `event` allows it.
  void emit(Level level, Name event, std::initializer_list<EventField> fields = {}) noexcept;
  void debug(Name event, std::initializer_list<EventField> fields = {}) noexcept {
    emit(Level::kDebug, event, fields);
  }
  void info(Name event, std::initializer_list<EventField> fields = {}) noexcept {
    emit(Level::kInfo, event, fields);
  }
  void warning(Name event, std::initializer_list<EventField> fields = {}) noexcept {
    emit(Level::kWarning, event, fields);
  }
  void error(Name event, std::initializer_list<EventField> fields = {}) noexcept {
    emit(Level::kError, event, fields);
  }

  /// Takes effect at once, as after a reload.
  void set_level(Level level) noexcept;
  /// Opens the file anew, for log rotation. Keeps the old one, and says so in it, when that fails.
  void reopen() noexcept;

  /// Lines that could not be written. Any thread.
  [[nodiscard]] std::uint64_t dropped() const noexcept;
  /// Lines over the budget of their name. Any thread.
  [[nodiscard]] std::uint64_t suppressed() const noexcept;

 private:
  class Impl;
  explicit EventLog(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

/// The fields that describe an Error, for the events of any room.
[[nodiscard]] inline EventField rule(const Error& error) noexcept {
  return str("rule", rule_name(error.code));
}

}  // namespace merlon::telemetry
