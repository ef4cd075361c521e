#pragma once

namespace merlon::tls {

/// The property query that makes a context derive its keys with this room's provider.
///
/// OpenSSL 3 looks the digest and the MAC up by name for each of the twenty-odd derivations of a
/// TLS 1.3 handshake and makes three contexts for each: an eighth of what a handshake costs. The
/// provider puts HKDF (RFC 5869, as RFC 8446 §7.1 uses it) and the HMAC of Finished messages and
/// tickets straight on OpenSSL's own SHA-256 and SHA-384; everything else stays with OpenSSL's
/// default provider.
///
/// For SSL_CTX_new_ex(3). Loads the provider into the default library context at the first call;
/// when OpenSSL refuses that, the query prefers nothing and contexts work as they would without.
/// Lives for ever; any thread.
[[nodiscard]] const char* key_schedule_query() noexcept;

}  // namespace merlon::tls
