// Certificates of clients: whatever is in one, its names are visible ASCII, or it is refused.
#include <openssl/err.h>
#include <openssl/x509.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "tls/client_auth.h"

namespace {

void require_visible(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (name.empty()) std::abort();
    for (const char c : name) {
      if (c <= 0x20 || c > 0x7e) std::abort();
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const unsigned char* at = data;
  X509* certificate = d2i_X509(nullptr, &at, static_cast<long>(size));
  if (certificate != nullptr) {
    const auto read = merlon::tls::read_client_certificate({&certificate, 1});
    if (read.has_value()) {
      require_visible(read->dns);
      require_visible(read->uris);
      require_visible(read->emails);
    }
    X509_free(certificate);
  }
  ERR_clear_error();
  return 0;
}
