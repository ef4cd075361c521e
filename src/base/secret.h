#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace merlon {

/// Text that must not be seen: wiped when it goes, and without any way to print it.
///
/// No `<<`, no fmt formatter, no comparison that stops early: use `reveal` where the value is
/// really needed, and `equals` to compare. Movable, not copyable.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string value) noexcept : value_(std::move(value)) {}
  Secret(Secret&& other) noexcept : value_(std::move(other.value_)) { other.wipe(); }
  Secret& operator=(Secret&& other) noexcept;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret() { wipe(); }

  /// The value itself; valid as long as this object and never to be logged.
  [[nodiscard]] std::string_view reveal() const noexcept { return value_; }
  [[nodiscard]] bool empty() const noexcept { return value_.empty(); }
  /// Compares in time that depends on the length only.
  [[nodiscard]] bool equals(std::string_view other) const noexcept;

 private:
  void wipe() noexcept;
  std::string value_;
};

/// Overwrites memory in a way that the compiler may not remove.
void wipe_memory(void* data, std::size_t bytes) noexcept;

}  // namespace merlon
