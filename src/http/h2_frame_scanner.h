#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace merlon::http {

/// Finds where frames begin in bytes that come in pieces (RFC 9113 §4.1). nghttp2 does not tell of
/// a DATA frame for a stream that it has forgotten, nor what a PRIORITY frame says, so such frames
/// are found here first.
class H2FrameScanner {
 public:
  static constexpr std::size_t kHeaderBytes = 9;
  /// Of a PRIORITY frame (RFC 9113 §6.3): the stream that it says the other depends on.
  static constexpr std::size_t kDependencyBytes = 4;

  /// `skip`: bytes before the first frame, the client's preface.
  explicit H2FrameScanner(std::size_t skip) noexcept : payload_left_(skip) {}

  /// Goes over `bytes` up to the end of the next frame header, that of a PRIORITY frame with its
  /// dependency, or to their end. The number of bytes passed; `at_header()` says whether a header
  /// is whole now.
  std::size_t advance(std::string_view bytes) noexcept {
    std::size_t passed = std::min(payload_left_, bytes.size());
    payload_left_ -= passed;
    if (whole_) header_size_ = 0;
    whole_ = false;
    if (payload_left_ > 0) return passed;
    passed += take(bytes.substr(passed), kHeaderBytes);
    if (header_size_ < kHeaderBytes) return passed;
    if (names_dependency()) {
      passed += take(bytes.substr(passed), kHeaderBytes + kDependencyBytes);
      if (header_size_ < header_.size()) return passed;
    }
    whole_ = true;
    begins_or_continues_ = type() == kHeaders || type() == kContinuation;
    ends_block_ = (number(4) & kEndHeaders) != 0;
    payload_left_ = length() - (header_size_ - kHeaderBytes);
    return passed;
  }
  [[nodiscard]] bool at_header() const noexcept { return whole_; }
  /// Bytes of the header that is whole, with a dependency.
  [[nodiscard]] std::size_t header_bytes() const noexcept { return header_size_; }
  [[nodiscard]] std::uint8_t type() const noexcept { return static_cast<std::uint8_t>(number(3)); }
  /// Of the payload, in bytes.
  [[nodiscard]] std::size_t length() const noexcept {
    return number(0) << 16U | number(1) << 8U | number(2);
  }
  [[nodiscard]] std::int32_t stream() const noexcept { return stream_at(5); }
  /// A header block has begun and is not whole (RFC 9113 §4.3), whatever its stream.
  [[nodiscard]] bool in_block() const noexcept {
    return begins_or_continues_ && (!ends_block_ || payload_left_ > 0);
  }
  /// A PRIORITY frame whose stream depends on itself.
  [[nodiscard]] bool depends_on_itself() const noexcept {
    return header_size_ > kHeaderBytes && stream_at(kHeaderBytes) == stream();
  }

 private:
  static constexpr std::uint8_t kHeaders = 1;
  static constexpr std::uint8_t kPriority = 2;
  static constexpr std::uint8_t kContinuation = 9;
  static constexpr std::size_t kEndHeaders = 4;
  static constexpr std::size_t kPriorityBytes = 5;

  std::size_t take(std::string_view bytes, std::size_t up_to) noexcept {
    const std::size_t taken = bytes.copy(header_.data() + header_size_, up_to - header_size_);
    header_size_ += taken;
    return taken;
  }
  [[nodiscard]] bool names_dependency() const noexcept {
    return type() == kPriority && length() == kPriorityBytes;
  }
  [[nodiscard]] std::size_t number(std::size_t at) const noexcept {
    return static_cast<unsigned char>(header_[at]);
  }
  [[nodiscard]] std::int32_t stream_at(std::size_t at) const noexcept {
    return static_cast<std::int32_t>((number(at) & 0x7fU) << 24U | number(at + 1) << 16U |
                                     number(at + 2) << 8U | number(at + 3));
  }
  std::size_t payload_left_;
  std::size_t header_size_ = 0;
  bool whole_ = false;
  bool begins_or_continues_ = false;
  bool ends_block_ = false;
  std::array<char, kHeaderBytes + kDependencyBytes> header_{};
};

}  // namespace merlon::http
