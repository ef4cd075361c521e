#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <iterator>
#include <memory>
#include <string_view>
#include <type_traits>

#include "http/field_id.h"

namespace merlon::http {

/// One field line. The views point into the buffer that the head was parsed from.
struct Field {
  std::string_view name;   ///< as received; compare without regard to case
  std::string_view value;  ///< without surrounding white space (RFC 9110 §5.5)
  FieldId id = FieldId::kOther;
  bool dropped = false;  ///< not to be forwarded; iteration and searches skip it
};

/// The field lines of a head, in order. Holds at most `kCapacity` and owns no bytes of them: every
/// view is valid as long as the caller's buffer. Most heads have few lines, which lie in here;
/// those of a head with more take a block of memory, until clear().
class Fields {
 public:
  /// Of these a peer may send so many: in what is left the gateway's own must find room, since a
  /// line that authorizes or protects must never be left out. Who adds lines asserts that they do.
  static constexpr std::size_t kReceivedMax = 100;
  static constexpr std::size_t kCapacity = 160;

  /// Walks the lines that are not dropped.
  class Iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = Field;
    using difference_type = std::ptrdiff_t;
    using pointer = const Field*;
    using reference = const Field&;

    Iterator() = default;
    Iterator(const Field* at, const Field* end) noexcept : at_(at), end_(end) { skip(); }
    reference operator*() const noexcept { return *at_; }
    pointer operator->() const noexcept { return at_; }
    Iterator& operator++() noexcept {
      ++at_;
      skip();
      return *this;
    }
    Iterator operator++(int) noexcept {
      Iterator old = *this;
      ++*this;
      return old;
    }
    bool operator==(const Iterator& other) const noexcept { return at_ == other.at_; }

   private:
    void skip() noexcept {
      while (at_ != end_ && at_->dropped) ++at_;
    }
    const Field* at_ = nullptr;
    const Field* end_ = nullptr;
  };

  [[nodiscard]] Iterator begin() const noexcept { return {items(), items() + count_}; }
  [[nodiscard]] Iterator end() const noexcept { return {items() + count_, items() + count_}; }

  /// Appends a line. False, and nothing changes, when it is full.
  bool add(std::string_view name, std::string_view value) noexcept {
    return add(name, value, field_id(name));
  }
  /// The same when the id of `name` is known already.
  bool add(std::string_view name, std::string_view value, FieldId id) noexcept {
    if (count_ >= kFew && !has_room()) return false;
    std::construct_at(items() + count_++,
                      Field{.name = name, .value = value, .id = id, .dropped = false});
    seen_.set(static_cast<std::size_t>(id));
    return true;
  }

  /// The first live line with this id, or nullptr. O(1) when there never was one.
  [[nodiscard]] const Field* find(FieldId id) const noexcept;
  /// The first live line with this name, any case, or nullptr.
  [[nodiscard]] const Field* find(std::string_view name) const noexcept;
  /// The value of the first live line with this id; empty when there is none.
  [[nodiscard]] std::string_view value(FieldId id) const noexcept {
    const Field* field = find(id);
    return field == nullptr ? std::string_view{} : field->value;
  }
  [[nodiscard]] bool contains(FieldId id) const noexcept { return find(id) != nullptr; }
  /// How many live lines have this id.
  [[nodiscard]] std::size_t count(FieldId id) const noexcept;
  /// How many live lines have this name, any case.
  [[nodiscard]] std::size_t count(std::string_view name) const noexcept;

  /// Drops every line with this id (for kOther: every unknown field). Returns how many.
  std::size_t drop(FieldId id) noexcept;
  /// Drops every line with this name, any case. Returns how many.
  std::size_t drop(std::string_view name) noexcept;
  /// Drops every line whose field has the trait, such as kHopByHop. Returns how many.
  std::size_t drop(FieldTrait trait) noexcept;

  /// All lines, dropped ones too: what was received.
  [[nodiscard]] std::size_t size() const noexcept { return count_; }
  [[nodiscard]] const Field& operator[](std::size_t i) const noexcept { return items()[i]; }
  void clear() noexcept {
    count_ = 0;
    seen_.reset();
    many_.reset();
  }

 private:
  // With the gateway's own, a browser's request has some 25.
  static constexpr std::size_t kFew = 32;
  static_assert(std::is_trivially_copyable_v<Field> && std::is_trivially_destructible_v<Field>);
  [[nodiscard]] Field* items() noexcept {
    return reinterpret_cast<Field*>(many_ == nullptr ? few_.data() : many_.get());
  }
  [[nodiscard]] const Field* items() const noexcept {
    return reinterpret_cast<const Field*>(many_ == nullptr ? few_.data() : many_.get());
  }
  /// For one more than kFew. Without memory the process ends, as anywhere: a line that is merely
  /// left out, such as one that authorizes, would make the head another.
  [[nodiscard]] bool has_room() noexcept;
  template <class Predicate>
  std::size_t drop_if(Predicate&& predicate) noexcept;

  std::size_t count_ = 0;
  std::bitset<kFieldIdCount> seen_;
  std::unique_ptr<std::byte[]> many_;  ///< all of them, when they are more than kFew
  // Left as it is until a line is added: clearing it for each head would cost more than the rest.
  alignas(Field) std::array<std::byte, kFew * sizeof(Field)> few_;
};

}  // namespace merlon::http
