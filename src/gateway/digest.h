#pragma once

#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace merlon::gateway {

/// SHA-256 over parts of which each is hashed with its length, so that no two lists of parts give
/// the same text.
class Digest {
 public:
  Digest();
  ~Digest();
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;

  Digest& add(std::string_view part);
  /// 64 hexadecimal digits. Call it once, last. Empty when the library failed, which it does only
  /// without memory or without the algorithm.
  [[nodiscard]] std::string hex();

 private:
  evp_md_ctx_st* context_;
  bool ok_;
};

}  // namespace merlon::gateway
