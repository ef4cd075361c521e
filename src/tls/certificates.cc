#include "tls/certificates.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "base/ascii.h"
#include "base/escape.h"
#include "base/secret.h"
#include "tls/openssl_ptr.h"

namespace merlon::tls {

namespace {

constexpr std::size_t kFileBytesMax = 256 * 1024;
// Longer chains exist nowhere; each certificate costs bytes in every handshake.
constexpr std::size_t kChainMax = 10;
constexpr std::size_t kNamesMax = 1000;
constexpr std::chrono::days kWarnBefore{30};
constexpr std::uint32_t kForbiddenKeyModes = 037;  // all but owner's, and reading by the group

WallTime to_wall_time(const ASN1_TIME* time) {
  std::tm fields{};
  if (ASN1_TIME_to_tm(time, &fields) != 1) return WallTime{};
  // A certificate may say 9999-12-31, which nanoseconds since 1970 cannot hold.
  const std::int64_t latest = std::chrono::duration_cast<seconds>(nanoseconds::max()).count();
  const std::int64_t at = std::min<std::int64_t>(timegm(&fields), latest);
  return WallTime{seconds{at}};
}

std::tm fields_of(WallTime time) {
  const std::time_t at = std::chrono::duration_cast<seconds>(time.time_since_epoch()).count();
  std::tm fields{};
  static_cast<void>(gmtime_r(&at, &fields));
  return fields;
}

std::string date(WallTime time) {
  const std::tm fields = fields_of(time);
  return fmt::format("{:04}-{:02}-{:02}", fields.tm_year + 1900, fields.tm_mon + 1, fields.tm_mday);
}

std::string moment(WallTime time) {
  const std::tm fields = fields_of(time);
  return fmt::format("{} {:02}:{:02}:{:02} UTC", date(time), fields.tm_hour, fields.tm_min,
                     fields.tm_sec);
}

std::string user_name() {
  std::array<char, 1024> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  const uid_t uid = ::geteuid();
  if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr)
    return fmt::format("user {}", found->pw_name);
  return fmt::format("user id {}", uid);
}

bool is_name_byte(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

/// The DNS name of a subject alternative name in lower case; "" when it is not one that a request
/// could ask for: NUL, other bytes, a `*` that is not the whole first label.
std::string usable_dns_name(std::string_view raw) {
  if (raw.empty() || raw.size() > 253) return {};
  std::string name(raw);
  for (char& c : name)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  const std::string_view rest = name.starts_with("*.") ? std::string_view(name).substr(2) : name;
  if (rest.empty() || rest.front() == '.' || rest.back() == '.') return {};
  if (rest.find("..") != std::string_view::npos) return {};
  return std::ranges::all_of(rest, is_name_byte) ? name : std::string{};
}

std::string_view view(const ASN1_STRING* text) noexcept {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
          static_cast<std::size_t>(ASN1_STRING_length(text))};
}

std::optional<IpAddress> address_of(std::string_view raw) noexcept {
  std::array<std::uint8_t, 16> bytes{};
  if (raw.size() != 4 && raw.size() != 16) return {};
  std::ranges::transform(raw, bytes.begin(), [](char c) { return static_cast<std::uint8_t>(c); });
  if (raw.size() == 16) return IpAddress::v6(bytes);
  return IpAddress::v4(std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 |
                       std::uint32_t{bytes[2]} << 8 | bytes[3]);
}

CertificateNames names_of(X509* certificate) {
  CertificateNames names;
  const NamesPtr all(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  if (all == nullptr) return names;
  const int count = sk_GENERAL_NAME_num(all.get());
  for (int i = 0; i < count && names.dns.size() + names.ips.size() < kNamesMax; ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(all.get(), i);
    if (name->type == GEN_DNS) {
      std::string dns = usable_dns_name(view(name->d.dNSName));
      if (!dns.empty()) names.dns.push_back(std::move(dns));
    } else if (name->type == GEN_IPADD) {
      if (const auto ip = address_of(view(name->d.iPAddress))) names.ips.push_back(*ip);
    }
  }
  return names;
}

/// What is wrong with the strength of a key, or "".
std::string weakness_of(EVP_PKEY* key) {
  switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA:
    case EVP_PKEY_RSA_PSS: {
      const int bits = EVP_PKEY_get_bits(key);
      return bits < 2048 ? fmt::format("an RSA key of {} bits, fewer than 2048", bits) : "";
    }
    case EVP_PKEY_ED25519:
      return "";
    case EVP_PKEY_EC: {
      std::array<char, 64> group{};
      if (EVP_PKEY_get_group_name(key, group.data(), group.size(), nullptr) != 1)
        return "an EC key with parameters of its own";
      const std::string_view name(group.data());
      if (name == SN_X9_62_prime256v1 || name == SN_secp384r1 || name == SN_secp521r1) return "";
      return fmt::format("an EC key on {}, which is not P-256, P-384 or P-521", name);
    }
    default:
      return "a key that is not RSA, EC or Ed25519";
  }
}

std::string_view key_type_of(EVP_PKEY* key) noexcept {
  switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_EC:
      return "EC";
    case EVP_PKEY_ED25519:
      return "ED25519";
    default:
      return "RSA";
  }
}

bool self_issued(X509* certificate) noexcept {
  return X509_NAME_cmp(X509_get_subject_name(certificate), X509_get_issuer_name(certificate)) == 0;
}

/// "SHA-1" or "MD5" when that is what the signature stands on; "" for sound ones.
std::string_view weak_digest(X509* certificate) noexcept {
  int digest = NID_undef;
  if (X509_get_signature_info(certificate, &digest, nullptr, nullptr, nullptr) != 1) return "";
  if (digest == NID_sha1) return "SHA-1";
  if (digest == NID_md5 || digest == NID_md5_sha1 || digest == NID_md4) return "MD5";
  return "";
}

// A passphrase is never asked for: nobody is there to type it.
int no_passphrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

BioPtr memory_bio(std::string_view text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

}  // namespace

bool name_matches(std::string_view pattern, std::string_view name) noexcept {
  if (!pattern.starts_with("*.")) return pattern == name;
  const std::size_t dot = name.find('.');
  return dot != std::string_view::npos && dot > 0 && name.substr(dot) == pattern.substr(1);
}

bool CertificateNames::covers(std::string_view host) const noexcept {
  if (const auto ip = IpAddress::parse(host)) return std::ranges::find(ips, *ip) != ips.end();
  return std::ranges::any_of(dns, [&](const std::string& p) { return name_matches(p, host); });
}

std::string CertificateNames::to_string() const {
  std::string text;
  const auto append = [&](const std::string& name) {
    if (!text.empty()) text += ", ";
    text += name;
  };
  std::ranges::for_each(dns, append);
  for (const IpAddress& ip : ips) append(ip.to_string());
  return text;
}

CertificatePair::~CertificatePair() {
  for (X509* certificate : chain_) X509_free(certificate);
  EVP_PKEY_free(key_);
}

bool LoadedCertificates::covers(std::string_view host) const noexcept {
  return std::ranges::any_of(pairs, [&](const auto& pair) { return pair->names().covers(host); });
}

/// Loads one pair, with its findings.
class PairLoader {
 public:
  PairLoader(const CertificateFiles& files, io::Broker& broker, WallTime now, Diagnostics& out)
      : files_(files), broker_(broker), now_(now), out_(out) {}

  /// nullptr after an error that makes the pair unfit.
  std::shared_ptr<const CertificatePair> load(bool needs_names) {
    const bool chain_read = read_chain();
    const bool key_read = read_key();
    if (chain_read) judge_chain(needs_names);
    if (chain_read && key_read) judge_match();
    if (!fit_) return nullptr;
    return std::move(pair_);
  }
  [[nodiscard]] CertificateNames take_names() { return std::move(names_); }

 private:
  void find(Severity severity, const Mark& at, std::string rule, std::string message,
            std::string help) {
    out_.add({severity, at, std::move(message), std::move(help), std::move(rule)});
  }
  /// An error that makes the pair unfit.
  void unfit(const Mark& at, std::string rule, std::string message, std::string help) {
    fit_ = false;
    find(Severity::kError, at, std::move(rule), std::move(message), std::move(help));
  }

  std::optional<std::string> read(const config::Located<config::FilePath>& file) {
    io::OsResult<std::string> text = broker_.read_file(file->path, kFileBytesMax);
    if (text) return std::move(*text);
    unfit(file.at, "",
          fmt::format("cannot read {}: {}", json_quoted(file->path), text.error().text()),
          fmt::format("it is read as {}", user_name()));
    return {};
  }

  bool read_chain() {
    const auto text = read(files_.cert);
    if (!text) return false;
    const BioPtr bio = memory_bio(*text);
    while (pair_->chain_.size() < kChainMax) {
      X509* next = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr);
      if (next == nullptr) break;
      pair_->chain_.push_back(next);
    }
    const unsigned long error = ERR_peek_last_error();
    const bool at_end =
        ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
    ERR_clear_error();
    if (!pair_->chain_.empty() && at_end) return true;
    if (pair_->chain_.size() == kChainMax) {
      unfit(files_.cert.at, "", fmt::format("the file holds {} certificates or more", kChainMax),
            "keep the certificate and its intermediates only");
    } else if (pair_->chain_.empty()) {
      unfit(files_.cert.at, "", "the file holds no certificate in PEM form",
            "it must begin with -----BEGIN CERTIFICATE-----");
    } else {
      unfit(files_.cert.at, "",
            fmt::format("certificate {} of the file cannot be read", pair_->chain_.size() + 1),
            "the file is damaged");
    }
    return false;
  }

  bool read_key() {
    judge_key_file();
    auto raw = read(files_.key);
    if (!raw) return false;
    const Secret text(std::move(*raw));
    const BioPtr bio = memory_bio(text.reveal());
    bool asked = false;
    pair_->key_ = PEM_read_bio_PrivateKey(bio.get(), nullptr, &no_passphrase, &asked);
    ERR_clear_error();
    if (pair_->key_ == nullptr) {
      if (asked) {
        unfit(files_.key.at, "", "the private key is encrypted",
              "store it without a passphrase, readable by its owner only");
      } else {
        unfit(files_.key.at, "", "the file holds no private key in PEM form",
              "it must hold -----BEGIN PRIVATE KEY-----");
      }
      return false;
    }
    pair_->key_type_ = key_type_of(pair_->key_);
    return true;
  }

  void judge_key_file() {
    const auto status = broker_.status(files_.key->path);
    if (!status || (status->mode & kForbiddenKeyModes) == 0) return;
    unfit(
        files_.key.at, "key-permissions",
        fmt::format("other users have access to the private key: its mode is {:04o}", status->mode),
        "chmod 0600, or 0640 with a group of its own");
  }

  void judge_chain(bool needs_names) {
    pair_->at_ = files_.at;
    pair_->names_ = names_of(pair_->certificate());
    names_ = pair_->names_;
    if (needs_names && names_.empty())
      unfit(files_.cert.at, "cert-san-mismatch",
            "the certificate carries no DNS name and no IP address that could be asked for",
            "reissue it with subject alternative names; the common name does not count");
    pair_->not_before_ = to_wall_time(X509_get0_notBefore(pair_->certificate()));
    pair_->not_after_ = to_wall_time(X509_get0_notAfter(pair_->certificate()));
    for (std::size_t i = 0; i < pair_->chain_.size(); ++i) {
      judge_dates(i);
      judge_strength(i);
      if (i > 0) judge_order(i);
    }
  }

  [[nodiscard]] static std::string which(std::size_t place) {
    return place == 0 ? "the certificate" : fmt::format("intermediate {}", place);
  }

  void judge_dates(std::size_t place) {
    const WallTime from = to_wall_time(X509_get0_notBefore(pair_->chain_[place]));
    const WallTime to = to_wall_time(X509_get0_notAfter(pair_->chain_[place]));
    const Mark& at = files_.cert.at;
    if (now_ > to)
      find(Severity::kError, at, "cert-expired",
           fmt::format("{} expired on {}", which(place), date(to)), "renew it");
    else if (now_ < from)
      find(Severity::kError, at, "cert-expired",
           fmt::format("{} is not valid before {}", which(place), moment(from)),
           "check the clock of this host, or wait");
    else if (to - now_ < kWarnBefore)
      find(Severity::kWarning, at, "cert-expired",
           fmt::format("{} expires on {}", which(place), date(to)), "renew it");
  }

  void judge_strength(std::size_t place) {
    X509* certificate = pair_->chain_[place];
    EVP_PKEY* key = X509_get0_pubkey(certificate);
    const std::string weakness =
        key == nullptr ? std::string("a key that cannot be read") : weakness_of(key);
    if (!weakness.empty())
      unfit(files_.cert.at, "cert-weak-key-sig", fmt::format("{} has {}", which(place), weakness),
            "use RSA with 2048 bits or more, P-256, P-384, P-521 or Ed25519");
    const std::string_view digest = weak_digest(certificate);
    // Nobody checks the signature of a root: it is trusted or not.
    if (!digest.empty() && !self_issued(certificate))
      unfit(files_.cert.at, "cert-weak-key-sig",
            fmt::format("{} is signed with {}", which(place), digest), "have it reissued");
  }

  void judge_order(std::size_t place) {
    X509* subject = pair_->chain_[place - 1];
    X509* issuer = pair_->chain_[place];
    if (X509_check_issued(issuer, subject) != X509_V_OK) {
      unfit(files_.cert.at, "cert-chain-order",
            fmt::format("certificate {} of the file did not issue the one before it", place + 1),
            "put the certificate first, then each issuer after what it issued");
    } else if (place + 1 == pair_->chain_.size() && self_issued(issuer)) {
      find(Severity::kNote, files_.cert.at, "cert-chain-order",
           "the file ends in a root, which no client needs", "leave it out");
    }
  }

  void judge_match() {
    const bool matches = X509_check_private_key(pair_->certificate(), pair_->key_) == 1;
    ERR_clear_error();
    if (matches) return;
    for (std::size_t i = 1; i < pair_->chain_.size(); ++i) {
      const bool here = X509_check_private_key(pair_->chain_[i], pair_->key_) == 1;
      ERR_clear_error();
      if (!here) continue;
      unfit(files_.cert.at, "cert-chain-order",
            fmt::format("the certificate of the key is number {} in the file", i + 1),
            "put it first");
      return;
    }
    unfit(files_.key.at, "cert-key-mismatch", "the key does not belong to the certificate",
          "compare `openssl x509 -noout -pubkey` and `openssl pkey -pubout`");
  }

  const CertificateFiles& files_;
  io::Broker& broker_;
  const WallTime now_;
  Diagnostics& out_;
  std::shared_ptr<CertificatePair> pair_{new CertificatePair};
  CertificateNames names_;
  bool fit_ = true;
};

LoadedCertificates load_certificates(const std::vector<CertificateFiles>& files, io::Broker& broker,
                                     WallTime now, Diagnostics& out) {
  LoadedCertificates loaded;
  for (const CertificateFiles& entry : files) {
    PairLoader loader(entry, broker, now, out);
    if (auto pair = loader.load(true))
      loaded.pairs.push_back(std::move(pair));
    else
      loaded.failed.push_back({entry.at, loader.take_names()});
  }
  return loaded;
}

std::shared_ptr<const CertificatePair> load_client_certificate(const CertificateFiles& files,
                                                               io::Broker& broker, WallTime now,
                                                               Diagnostics& out) {
  return PairLoader(files, broker, now, out).load(false);
}

}  // namespace merlon::tls
