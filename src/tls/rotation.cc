#include "tls/rotation.h"

#include <openssl/x509.h>

#include <algorithm>
#include <ctime>
#include <iterator>

namespace merlon::tls {
namespace {

bool is_in_its_dates(X509* certificate, std::time_t now) {
  // 0 is an error, and negative: before.
  return X509_cmp_time(X509_get0_notBefore(certificate), &now) < 0 &&
         X509_cmp_time(X509_get0_notAfter(certificate), &now) > 0;
}

}  // namespace

bool is_in_its_dates(const CertificatePair& pair, WallTime now) {
  const std::time_t at = std::chrono::system_clock::to_time_t(
      std::chrono::time_point_cast<std::chrono::system_clock::duration>(now));
  return is_in_its_dates(pair.certificate(), at) &&
         std::ranges::all_of(pair.intermediates(),
                             [at](X509* one) { return is_in_its_dates(one, at); });
}

bool same_certificate(const CertificatePair& one, const CertificatePair& other) {
  return X509_cmp(one.certificate(), other.certificate()) == 0;
}

LoadedCertificates keep_in_use(const LoadedCertificates& loaded,
                               const std::vector<CertificateFiles>& files,
                               const std::vector<std::shared_ptr<const CertificatePair>>& in_use,
                               WallTime now) {
  using Pair = std::shared_ptr<const CertificatePair>;
  LoadedCertificates result;
  for (const CertificateFiles& entry : files) {
    const auto here = [&](const Pair& pair) { return pair->at().same_place(entry.at); };
    const auto fresh = std::ranges::find_if(loaded.pairs, here);
    const auto old = std::ranges::find_if(in_use, here);
    const bool good = fresh != loaded.pairs.end() && is_in_its_dates(**fresh, now);
    if (!good && old != in_use.end()) {
      result.pairs.push_back(*old);
    } else if (fresh != loaded.pairs.end()) {
      result.pairs.push_back(*fresh);
    } else {
      std::ranges::copy_if(loaded.failed, std::back_inserter(result.failed),
                           [&](const auto& failed) { return failed.at.same_place(entry.at); });
    }
  }
  return result;
}

namespace {
std::optional<io::FileStatus> status_of(const std::string& path, io::Broker& broker) {
  const auto status = broker.status(path);
  if (!status) return {};
  return *status;
}
}  // namespace

FileWatch::FileWatch(const std::vector<std::string>& paths, const States& read,
                     io::Broker& broker) {
  for (const std::string& path : paths) {
    const auto known = read.find(path);
    const auto state = known == read.end() ? status_of(path, broker) : known->second;
    files_.push_back({.path = path, .in_use = state, .seen = state});
  }
}

bool FileWatch::due(io::Broker& broker, Instant now) {
  bool differs = false;
  bool moved = false;
  for (File& file : files_) {
    const auto state = status_of(file.path, broker);
    if (!state && !file.gone_since) file.gone_since = now;
    if (state) file.gone_since.reset();
    const bool settled = state || now - *file.gone_since >= kGoneAfter;
    if (settled && state != file.seen) {
      file.seen = state;
      moved = true;
    }
    differs |= file.seen != file.in_use;
  }
  // Files that went back to what was in use are due as well, where others were tried meanwhile:
  // what was good among those is in force.
  if (!differs && !tried_) return false;
  if (moved) pause_ = kPauseMin;
  if (!moved && now < again_at_) return false;
  is_again_ = !moved;
  again_at_ = now + pause_;
  pause_ = std::min(pause_ * 2, kPauseMax);
  tried_ = true;
  return true;
}

void FileWatch::taken() noexcept {
  for (File& file : files_) file.in_use = file.seen;
  tried_ = false;
}

}  // namespace merlon::tls
