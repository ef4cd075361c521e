#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

#include "http/fields.h"

namespace merlon::policy {

/// Fields that policies give the response, whoever makes it: Allow, WWW-Authenticate, RateLimit,
/// the fields of CORS. One per request; holds a fixed number and never allocates.
class ResponseFields {
 public:
  static constexpr std::size_t kCapacity = 32;
  static constexpr std::size_t kTextBytesMax = 2048;

  /// Appends a line whose value lives as long as the plan. False, and nothing changes, when full.
  bool add(std::string_view name, std::string_view value, http::FieldId id) noexcept;
  /// The same with a value that is copied here.
  bool add_copy(std::string_view name, std::string_view value, http::FieldId id) noexcept;

  [[nodiscard]] std::span<const http::Field> lines() const noexcept {
    return {lines_.data(), count_};
  }
  [[nodiscard]] bool contains(http::FieldId id) const noexcept;
  void clear() noexcept { count_ = text_size_ = 0; }
  /// Takes back the lines behind the first `count`, but for those of `kept`.
  void truncate(std::size_t count, http::FieldId kept) noexcept;

 private:
  std::size_t count_ = 0;
  std::size_t text_size_ = 0;
  std::array<http::Field, kCapacity> lines_;
  std::array<char, kTextBytesMax> text_;
};

}  // namespace merlon::policy
