#include "tls/ticket_keys.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include <algorithm>
#include <span>

namespace merlon::tls {

TicketKeys::Key::~Key() {
  OPENSSL_cleanse(aes.data(), aes.size());
  OPENSSL_cleanse(mac.data(), mac.size());
}

void TicketKeys::rotate_locked() {
  const Instant now = clock_.now();
  if (previous_ && now - previous_->made >= 2 * kRotation) previous_.reset();
  if (current_ && now - current_->made < kRotation) return;
  if (current_ && now - current_->made < 2 * kRotation) previous_ = current_;
  current_.reset();
  Key fresh;
  fresh.made = now;
  if (RAND_bytes(fresh.name.data(), static_cast<int>(fresh.name.size())) != 1 ||
      RAND_priv_bytes(fresh.aes.data(), static_cast<int>(fresh.aes.size())) != 1 ||
      RAND_priv_bytes(fresh.mac.data(), static_cast<int>(fresh.mac.size())) != 1)
    return;
  current_ = fresh;
}

std::optional<TicketKeys::Key> TicketKeys::current() {
  const std::lock_guard lock(mutex_);
  rotate_locked();
  return current_;
}

std::optional<TicketKeys::Key> TicketKeys::find(const unsigned char* name, bool& renew) {
  const std::lock_guard lock(mutex_);
  rotate_locked();
  for (const std::optional<Key>* key : {&current_, &previous_}) {
    if (!*key || !std::ranges::equal((*key)->name, std::span(name, (*key)->name.size()))) continue;
    renew = key == &previous_;
    return *key;
  }
  return {};
}

}  // namespace merlon::tls
