#include "audit/password.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/base64.h"

namespace merlon::audit {
namespace {

std::string digest(const EVP_MD* kind, std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> out{};
  unsigned size = 0;
  if (EVP_Digest(text.data(), text.size(), out.data(), &size, kind, nullptr) != 1) return {};
  return {reinterpret_cast<const char*>(out.data()), size};
}

/// Sixteen bytes of MD5 in the order and alphabet of crypt(3).
std::string crypt64(std::string_view sum) {
  constexpr std::string_view kAlphabet =
      "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  constexpr std::array<std::array<std::size_t, 3>, 5> kGroups = {
      {{0, 6, 12}, {1, 7, 13}, {2, 8, 14}, {3, 9, 15}, {4, 10, 5}}};
  const auto byte = [&](std::size_t i) {
    return std::uint32_t{static_cast<unsigned char>(sum[i])};
  };
  std::string out;
  const auto put = [&](std::uint32_t value, int count) {
    for (; count > 0; --count, value >>= 6) out += kAlphabet[value & 63U];
  };
  for (const auto& [a, b, c] : kGroups) put(byte(a) << 16 | byte(b) << 8 | byte(c), 4);
  put(byte(11), 2);
  return out;
}

/// The scheme that htpasswd writes by default (Apache's MD5, apr_md5.c).
std::string apr1(std::string_view password, std::string_view salt) {
  constexpr int kRounds = 1000;
  const std::string word(password);
  std::string sum = digest(EVP_md5(), word + std::string(salt) + word);
  if (sum.size() != 16) return {};
  std::string text = word + "$apr1$" + std::string(salt);
  for (std::size_t left = word.size(); left > 0; left -= std::min<std::size_t>(left, 16)) {
    text += sum.substr(0, std::min<std::size_t>(left, 16));
  }
  for (std::size_t bits = word.size(); bits != 0; bits >>= 1) {
    text += (bits & 1) != 0 ? '\0' : word[0];
  }
  sum = digest(EVP_md5(), text);
  for (int i = 0; i < kRounds; ++i) {
    std::string round = i % 2 != 0 ? word : sum;
    if (i % 3 != 0) round += salt;
    if (i % 7 != 0) round += word;
    round += i % 2 != 0 ? sum : word;
    sum = digest(EVP_md5(), round);
  }
  return sum.size() == 16 ? crypt64(sum) : std::string{};
}

bool matches(std::string_view field, const std::string& password) {
  constexpr std::string_view kPlain = "{PLAIN}";
  constexpr std::string_view kSha = "{SHA}";
  constexpr std::string_view kApr = "$apr1$";
  if (field.starts_with(kPlain)) return field.substr(kPlain.size()) == password;
  if (field.starts_with(kSha)) {
    return field.substr(kSha.size()) == base64(digest(EVP_sha1(), password));
  }
  if (!field.starts_with(kApr)) return false;
  const std::size_t end = field.find('$', kApr.size());
  if (end == std::string_view::npos) return false;
  const std::string_view salt = field.substr(kApr.size(), end - kApr.size());
  return salt.size() <= 8 && field.substr(end + 1) == apr1(password, salt);
}

}  // namespace

std::string well_known_password(std::string_view user, std::string_view field) {
  constexpr std::string_view kFirst[] = {
      "admin", "password", "123456",  "changeme", "secret", "test",     "guest", "root",
      "user",  "letmein",  "welcome", "default",  "qwerty", "12345678", "demo",  "password1"};
  while (field.ends_with('\r')) field.remove_suffix(1);
  std::vector<std::string> guesses(std::begin(kFirst), std::end(kFirst));
  if (!user.empty()) {
    guesses.emplace_back(user);
    guesses.push_back(std::string(user) + "123");
  }
  for (const std::string& guess : guesses) {
    if (matches(field, guess)) return guess;
  }
  return {};
}

}  // namespace merlon::audit
