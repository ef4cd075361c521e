#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace merlon::http {

/// Finds where frames begin in bytes that come in pieces (RFC 9113 §4.1). nghttp2 does not tell of
/// a DATA frame for a stream that it has forgotten, so such frames are found here first.
class H2FrameScanner {
 public:
  static constexpr std::size_t kHeaderBytes = 9;

  /// `skip`: bytes before the first frame, the client's preface.
  explicit H2FrameScanner(std::size_t skip) noexcept : payload_left_(skip) {}

  /// Goes over `bytes` up to the end of the next frame header, or to their end. The number of bytes
  /// passed; `at_header()` says whether a header is whole now.
  std::size_t advance(std::string_view bytes) noexcept {
    const std::size_t skipped = std::min(payload_left_, bytes.size());
    payload_left_ -= skipped;
    if (whole()) header_size_ = 0;
    if (payload_left_ > 0) return skipped;
    const std::size_t taken =
        bytes.substr(skipped).copy(header_.data() + header_size_, kHeaderBytes - header_size_);
    header_size_ += taken;
    if (whole()) payload_left_ = length();
    return skipped + taken;
  }
  [[nodiscard]] bool at_header() const noexcept { return whole(); }
  [[nodiscard]] std::uint8_t type() const noexcept { return static_cast<std::uint8_t>(number(3)); }
  /// Of the payload, in bytes.
  [[nodiscard]] std::size_t length() const noexcept {
    return number(0) << 16U | number(1) << 8U | number(2);
  }
  [[nodiscard]] std::int32_t stream() const noexcept {
    return static_cast<std::int32_t>((number(5) & 0x7fU) << 24U | number(6) << 16U |
                                     number(7) << 8U | number(8));
  }

 private:
  [[nodiscard]] bool whole() const noexcept { return header_size_ == kHeaderBytes; }
  [[nodiscard]] std::size_t number(std::size_t at) const noexcept {
    return static_cast<unsigned char>(header_[at]);
  }
  std::size_t payload_left_;
  std::size_t header_size_ = 0;
  std::array<char, kHeaderBytes> header_{};
};

}  // namespace merlon::http
