#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tls/certificates.h"

/// Certificates and keys that are replaced while they are in use.
namespace merlon::tls {

/// True when the whole chain is.
[[nodiscard]] bool is_in_its_dates(const CertificatePair& pair, WallTime now);

/// True when both present the same certificate.
[[nodiscard]] bool same_certificate(const CertificatePair& one, const CertificatePair& other);

/// `loaded` with the pair of `in_use` put back for each of `files` that cannot be used or is out of
/// its dates: a renewal that failed takes nothing away.
[[nodiscard]] LoadedCertificates keep_in_use(
    const LoadedCertificates& loaded, const std::vector<CertificateFiles>& files,
    const std::vector<std::shared_ptr<const CertificatePair>>& in_use, WallTime now);

/// Sees whether files were replaced, by all of FileStatus. Asked every few seconds by the control
/// thread, which then loads what they hold again. What could not be taken stays due, ever more
/// seldom, so that a failure that passes (no descriptor is free) loses no renewal. Not thread-safe.
class FileWatch {
 public:
  /// From the first pause to the longest between two attempts with the same files.
  static constexpr seconds kPauseMin{2};
  static constexpr seconds kPauseMax{300};
  /// A file that is not there for so long is not just being replaced.
  static constexpr seconds kGoneAfter{10};

  /// The state of each file as it was before it was read; nullopt: it could not be looked at.
  using States = std::map<std::string, std::optional<io::FileStatus>, std::less<>>;

  /// `paths` in the state of `read`, or, where that knows nothing of them, as they are now.
  FileWatch(const std::vector<std::string>& paths, const States& read, io::Broker& broker);

  /// True when files differ from those that were taken: at once after a change, and again after a
  /// pause that doubles, until `taken`. A file that vanished counts when it is back, since it may
  /// be about to be replaced, or after kGoneAfter.
  [[nodiscard]] bool due(io::Broker& broker, Instant now);
  /// True when nothing changed since `due` was true before.
  [[nodiscard]] bool is_again() const noexcept { return is_again_; }
  /// The files as `due` last saw them are in use.
  void taken() noexcept;

 private:
  struct File {
    std::string path;
    std::optional<io::FileStatus> in_use;
    std::optional<io::FileStatus> seen;
    std::optional<Instant> gone_since{};  ///< first missed, after it was there
  };
  std::vector<File> files_;
  seconds pause_ = kPauseMin;
  Instant again_at_{};
  bool is_again_ = false;
  bool tried_ = false;  ///< since the last `taken`
};

}  // namespace merlon::tls
