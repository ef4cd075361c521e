#pragma once

#include <compare>
#include <cstdint>
#include <string_view>

namespace merlon::policy {

/// A number of JSON as a schema sees it: whole ones exactly, others as doubles.
class SchemaNumber {
 public:
  explicit SchemaNumber(std::int64_t whole) noexcept
      : whole_(whole), real_(static_cast<double>(whole)), is_whole_(true) {}
  explicit SchemaNumber(double real) noexcept : real_(real) {}

  /// By value: 1 equals 1.0, and no two integers are equal for lack of digits.
  [[nodiscard]] std::partial_ordering operator<=>(const SchemaNumber& other) const noexcept;
  [[nodiscard]] bool operator==(const SchemaNumber& other) const noexcept {
    return (*this <=> other) == std::partial_ordering::equivalent;
  }
  /// `unit` is above 0. Of doubles what their digits mean counts: 19.99 is a multiple of 0.01.
  [[nodiscard]] bool is_multiple_of(const SchemaNumber& unit) const noexcept;

 private:
  std::int64_t whole_ = 0;
  double real_;
  bool is_whole_ = false;
};

/// Whether every integer of a well-formed JSON text fits 64 bits, with its sign.
[[nodiscard]] bool integers_fit(std::string_view json) noexcept;

}  // namespace merlon::policy
