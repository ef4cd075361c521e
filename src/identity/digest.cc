#include "identity/digest.h"

#include <algorithm>
#include <cstdlib>

#include "identity/openssl_ptr.h"

namespace merlon::identity {

Hasher::Hasher() : context_(EVP_MD_CTX_new()) {
  functions_[0] = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  functions_[1] = EVP_MD_fetch(nullptr, "SHA384", nullptr);
  functions_[2] = EVP_MD_fetch(nullptr, "SHA512", nullptr);
}

Hasher::~Hasher() {
  EVP_MD_CTX_free(context_);
  for (EVP_MD* function : functions_) EVP_MD_free(function);
}

std::size_t Hasher::hash(Function function, std::string_view bytes,
                         std::span<unsigned char, kBytesMax> out) noexcept {
  unsigned size = 0;
  const bool done = context_ != nullptr && native(function) != nullptr &&
                    EVP_DigestInit_ex(context_, native(function), nullptr) == 1 &&
                    EVP_DigestUpdate(context_, bytes.data(), bytes.size()) == 1 &&
                    EVP_DigestFinal_ex(context_, out.data(), &size) == 1;
  return done ? size : 0;
}

Sha256 Hasher::sha256(std::string_view bytes, bool& ok) noexcept {
  std::array<unsigned char, kBytesMax> out{};
  ok = hash(Function::kSha256, bytes, out) == sizeof(Sha256);
  Sha256 digest{};
  if (ok) std::copy_n(out.begin(), digest.size(), digest.begin());
  return digest;
}

Hasher::Function hash_of(Algorithm algorithm) noexcept {
  switch (algorithm) {
    case Algorithm::kRs256:
    case Algorithm::kPs256:
    case Algorithm::kEs256:
      return Hasher::Function::kSha256;
    case Algorithm::kRs384:
    case Algorithm::kPs384:
    case Algorithm::kEs384:
      return Hasher::Function::kSha384;
    case Algorithm::kRs512:
    case Algorithm::kPs512:
    case Algorithm::kEs512:
    case Algorithm::kEdDsa:
      return Hasher::Function::kSha512;
  }
  return Hasher::Function::kSha256;
}

Sha256 sha256(std::string_view bytes) {
  Hasher hasher;
  bool ok = false;
  const Sha256 digest = hasher.sha256(bytes, ok);
  if (!ok) std::abort();  // a build of OpenSSL without SHA-256 cannot even start
  return digest;
}

}  // namespace merlon::identity
