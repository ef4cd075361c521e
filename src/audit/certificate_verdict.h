#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "audit/certificate.h"
#include "audit/finding.h"

/// What is wrong with a certificate by itself, whoever serves it.
namespace merlon::audit {

struct CertificateVerdict {
  std::string_view rule;
  Level level = Level::kMedium;
  std::string what;
};

/// Dates (CRT-01), key and signature (CRT-03) of the first certificate of a PEM text, and the order
/// of the others behind it (CRT-04). `chain` is what parse_certificates() made of `pem`, and not
/// empty.
[[nodiscard]] std::vector<CertificateVerdict> judge_certificate(std::string_view pem,
                                                                std::span<const Certificate> chain,
                                                                std::int64_t now);

/// Those of `served` that no name of the certificate covers (CRT-02).
[[nodiscard]] std::vector<std::string> names_not_covered(const Certificate& leaf,
                                                         std::span<const std::string_view> served);
/// The finding's sentence for them.
[[nodiscard]] std::string not_covered_text(const Certificate& leaf,
                                           std::span<const std::string> missing);

}  // namespace merlon::audit
