#pragma once

#include <array>

#include "tls/tls_stream.h"

namespace merlon::tls {

/// The blocks that all streams of a thread share. What a stream has received and not taken stays
/// here until another stream needs the place; what it sends is gone at the end of each call.
struct TlsStream::Scratch {
  static constexpr std::size_t kRecord = 16 * 1024;  // the largest record (RFC 8446 §5.1)
  static constexpr std::size_t kBatchMax = 4 * kRecord;

  std::array<char, kBatchMax> in;
  std::array<char, kBatchMax + kRecord> out;  // with room for what records add
  std::array<char, kRecord> gather;           // small pieces become one record
  TlsStream* in_owner = nullptr;
  std::size_t in_from = 0;
  std::size_t in_to = 0;
  std::size_t out_used = 0;
};

}  // namespace merlon::tls
