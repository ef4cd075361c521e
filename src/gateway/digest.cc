#include "gateway/digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <cstdint>
#include <iterator>

namespace merlon::gateway {

Digest::Digest()
    : context_(EVP_MD_CTX_new()),
      ok_(context_ != nullptr && EVP_DigestInit_ex(context_, EVP_sha256(), nullptr) == 1) {}

Digest::~Digest() { EVP_MD_CTX_free(context_); }

Digest& Digest::add(std::string_view part) {
  std::array<unsigned char, 8> length{};
  for (std::size_t i = 0; i < length.size(); ++i) {
    length[i] = static_cast<unsigned char>(std::uint64_t{part.size()} >> (8 * i));
  }
  ok_ = ok_ && EVP_DigestUpdate(context_, length.data(), length.size()) == 1 &&
        EVP_DigestUpdate(context_, part.data(), part.size()) == 1;
  return *this;
}

std::string Digest::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned size = 0;
  if (!ok_ || EVP_DigestFinal_ex(context_, bytes.data(), &size) != 1) return {};
  std::string text;
  for (unsigned i = 0; i < size; ++i) fmt::format_to(std::back_inserter(text), "{:02x}", bytes[i]);
  return text;
}

}  // namespace merlon::gateway
