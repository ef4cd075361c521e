#include "tls/server_context.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tls/test_wire.h"

namespace merlon::tls {
namespace {

using test::RawClient;
using test::shake;
using test::tcp_pair;

class Server : public test::Wire {
 protected:
  /// What a raw client comes to: the outcome on the server, the alert and the certificate it saw.
  struct Seen {
    Result<void> outcome;
    int alert = 0;
    std::string subject;
    std::string key_type;
    std::string cipher;
    std::string version;
    bool resumed = false;
    HandshakeFailure failure;
  };
  Seen ask(const std::shared_ptr<const ServerContext>& context,
           const std::function<void(RawClient&)>& prepare, SSL_SESSION** session = nullptr) {
    auto [accepted, connected] = tcp_pair();
    stream_ = std::make_unique<TlsStream>(loop_, std::move(accepted), context);
    RawClient raw(loop_, std::move(connected));
    static int alert = 0;
    alert = 0;
    SSL_CTX_set_info_callback(raw.context(), [](const SSL*, int where, int value) {
      if (where == SSL_CB_READ_ALERT) alert = value & 0xff;
    });
    prepare(raw);
    Seen seen;
    io::TaskSet tasks;
    tasks.spawn(shake(*stream_, soon(), seen.outcome));
    const int result = raw.shake();
    run(tasks);
    seen.alert = alert;
    seen.failure = stream_->failure();
    if (result != 1) return seen;
    const X509Ptr certificate(SSL_get1_peer_certificate(raw.ssl()));
    char name[256];
    X509_NAME_get_text_by_NID(X509_get_subject_name(certificate.get()), NID_commonName, name,
                              sizeof name);
    seen.subject = name;
    seen.key_type = OBJ_nid2sn(EVP_PKEY_get_base_id(X509_get0_pubkey(certificate.get())));
    seen.cipher = SSL_get_cipher_name(raw.ssl());
    seen.version = SSL_get_version(raw.ssl());
    seen.resumed = SSL_session_reused(raw.ssl()) == 1;
    if (session != nullptr) {
      for (int i = 0; i < 5; ++i) {
        loop_.turn(milliseconds{1});
        raw.receive();
        char byte = 0;
        SSL_read(raw.ssl(), &byte, 1);
      }
      *session = SSL_get1_session(raw.ssl());
    }
    SSL_set_shutdown(raw.ssl(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    return seen;
  }
  Seen ask_name(const std::shared_ptr<const ServerContext>& context, const char* name) {
    return ask(context, [&](RawClient& raw) {
      if (name != nullptr) raw.name(name);
    });
  }
  std::shared_ptr<const CertificatePair> named(const char* subject, const char* names,
                                               KeyPtr key = test::ec_key()) {
    return pki_.pair({.subject = subject, .names = names}, std::move(key));
  }
  std::unique_ptr<TlsStream> stream_;
};

TEST_F(Server, TheNameChoosesTheCertificate) {
  const auto context =
      server({named("one", "DNS:a.test,DNS:shared.test"), named("wild", "DNS:*.b.test"),
              named("exact", "DNS:x.b.test"), named("second", "DNS:shared.test,DNS:c.test")});
  struct Case {
    const char* name;
    const char* want;  // nullptr: refused
  };
  const Case cases[] = {
      {"a.test", "one"},     {"A.TEST", "one"},      {"y.b.test", "wild"},
      {"x.b.test", "exact"}, {"X.B.test", "exact"},  {"shared.test", "one"},
      {"c.test", "second"},  {"b.test", nullptr},    {"z.y.b.test", nullptr},
      {".b.test", nullptr},  {"a.test.", nullptr},   {"other.test", nullptr},
      {"*.b.test", "wild"},  {"127.0.0.1", nullptr}, {nullptr, nullptr},
  };
  for (const Case& c : cases) {
    const Seen seen = ask_name(context, c.name);
    const char* name = c.name == nullptr ? "no name" : c.name;
    ASSERT_EQ(seen.outcome.has_value(), c.want != nullptr) << name;
    if (c.want != nullptr) {
      EXPECT_EQ(seen.subject, c.want) << name;
    } else {
      EXPECT_EQ(seen.outcome.error().code, code::kTlsUnknownName) << name;
      EXPECT_EQ(seen.alert, SSL_AD_UNRECOGNIZED_NAME) << name;
    }
  }
}

TEST_F(Server, WithoutANameTheAddressOfTheListenerDecides) {
  EXPECT_TRUE(ask_name(server({named("ip", "DNS:a.test,IP:127.0.0.1")}), nullptr).outcome);
  EXPECT_FALSE(ask_name(server({named("ip", "DNS:a.test,IP:127.0.0.2")}), nullptr).outcome);
}

TEST_F(Server, AnAddressGivenAsNameMustBeInTheCertificate) {
  const auto context = server({named("ip", "DNS:a.test,IP:127.0.0.1"), named("b", "IP:127.0.0.2")});
  EXPECT_EQ(ask_name(context, "127.0.0.1").subject, "ip");
  EXPECT_EQ(ask_name(context, "127.0.0.2").subject, "b");
  const Seen other = ask_name(context, "127.0.0.3");
  ASSERT_FALSE(other.outcome);
  EXPECT_EQ(other.outcome.error().code, code::kTlsUnknownName);
}

TEST_F(Server, RsaAndEcdsaServeOneName) {
  const auto context = server(
      {named("ec", "DNS:a.test"), named("rsa", "DNS:a.test,DNS:b.test", test::rsa_key(2048))});
  EXPECT_TRUE(out_.all().empty());
  EXPECT_EQ(ask_name(context, "a.test").key_type, "id-ecPublicKey");
  EXPECT_FALSE(stream_->covers("b.test"));  // only one of the two certificates carries it
  const auto rsa_only = [](RawClient& raw) {
    raw.name("a.test");
    SSL_CTX_set1_sigalgs_list(raw.context(), "RSA-PSS+SHA256");
    SSL_set1_sigalgs_list(raw.ssl(), "RSA-PSS+SHA256");
  };
  EXPECT_EQ(ask(context, rsa_only).key_type, "rsaEncryption");
}

TEST_F(Server, ASecondPairOfOneTypeIsWarnedOf) {
  server({named("one", "DNS:a.test"), named("two", "DNS:a.test")});
  ASSERT_EQ(out_.all().size(), 1U);
  EXPECT_EQ(out_.all()[0].severity, Severity::kWarning);
}

TEST_F(Server, OffersStrongSuitesOnly) {
  const auto strict = server({named("a", "DNS:a.test")});
  const auto waived =
      server({named("a", "DNS:a.test")}, {.listener = "public", .allow_aes128 = true});
  struct Case {
    const char* suites12;
    const char* suites13;
    const char* want;  // nullptr: refused
    bool needs_waiver;
  };
  const Case cases[] = {
      {"", "TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384", false},
      {"", "TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256", false},
      {"", "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
       false},
      {"", "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384", false},
      {"", "TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256", true},
      {"", "TLS_AES_128_CCM_SHA256", nullptr, false},
      {"ECDHE-ECDSA-AES256-GCM-SHA384", "", "ECDHE-ECDSA-AES256-GCM-SHA384", false},
      {"ECDHE-ECDSA-CHACHA20-POLY1305", "", "ECDHE-ECDSA-CHACHA20-POLY1305", false},
      {"ECDHE-ECDSA-AES128-GCM-SHA256", "", "ECDHE-ECDSA-AES128-GCM-SHA256", true},
      {"ECDHE-ECDSA-AES256-SHA384", "", nullptr, false},
      {"ECDHE-ECDSA-AES256-CCM", "", nullptr, false},
      {"AES256-GCM-SHA384", "", nullptr, false},
      {"DHE-RSA-AES256-GCM-SHA384", "", nullptr, false},
  };
  for (const Case& c : cases) {
    for (const bool with_waiver : {false, true}) {
      const Seen seen = ask(with_waiver ? waived : strict, [&](RawClient& raw) {
        const bool old = *c.suites12 != '\0';
        if (old) SSL_CTX_set_max_proto_version(raw.context(), TLS1_2_VERSION);
        if (old) SSL_CTX_set_cipher_list(raw.context(), c.suites12);
        if (!old) SSL_CTX_set_min_proto_version(raw.context(), TLS1_3_VERSION);
        if (!old) SSL_CTX_set_ciphersuites(raw.context(), c.suites13);
        raw.name("a.test");
      });
      const bool served = c.want != nullptr && (with_waiver || !c.needs_waiver);
      ASSERT_EQ(seen.outcome.has_value(), served) << c.suites12 << c.suites13;
      if (served) {
        EXPECT_EQ(seen.cipher, c.want);
        continue;
      }
      EXPECT_EQ(seen.outcome.error().code, code::kTlsNoSharedCipher);
      ASSERT_NE(seen.failure.offer, nullptr);
      EXPECT_EQ(seen.failure.offer->server_name, "a.test");
      EXPECT_GE(seen.failure.offer->suite_count, 1);
    }
  }
}

TEST_F(Server, SpeaksNoLegacyVersion) {
  struct Case {
    int version;
    MinVersion min;
    bool want;
  };
  const Case cases[] = {
      {TLS1_VERSION, MinVersion::kTls12, false},   {TLS1_1_VERSION, MinVersion::kTls12, false},
      {TLS1_2_VERSION, MinVersion::kTls12, true},  {TLS1_3_VERSION, MinVersion::kTls12, true},
      {TLS1_2_VERSION, MinVersion::kTls13, false}, {TLS1_3_VERSION, MinVersion::kTls13, true},
  };
  for (const Case& c : cases) {
    const auto context =
        server({named("a", "DNS:a.test")}, {.listener = "public", .min_version = c.min});
    const Seen seen = ask(context, [&](RawClient& raw) {
      SSL_CTX_set_min_proto_version(raw.context(), c.version);
      SSL_CTX_set_max_proto_version(raw.context(), c.version);
      SSL_CTX_set_cipher_list(raw.context(), "ALL:@SECLEVEL=0");
      raw.name("a.test");
    });
    ASSERT_EQ(seen.outcome.has_value(), c.want) << c.version;
    if (c.want) continue;
    EXPECT_EQ(seen.outcome.error().code, code::kTlsVersion) << seen.failure.reason;
    EXPECT_EQ(seen.alert, SSL_AD_PROTOCOL_VERSION);
    ASSERT_NE(seen.failure.offer, nullptr);
    ASSERT_EQ(seen.failure.offer->version_count, 1);
    EXPECT_EQ(seen.failure.offer->versions[0], c.version);
  }
}

TEST_F(Server, AgreesOnAProtocolOrRefuses) {
  const auto context = server({named("a", "DNS:a.test")});
  const auto offering = [](const std::string& wire) {
    return [wire](RawClient& raw) {
      raw.name("a.test");
      SSL_set_alpn_protos(raw.ssl(), reinterpret_cast<const unsigned char*>(wire.data()),
                          static_cast<unsigned>(wire.size()));
    };
  };
  EXPECT_TRUE(ask(context, offering("\x02h2\x08http/1.1")).outcome);
  EXPECT_EQ(stream_->alpn(), "http/1.1");
  EXPECT_TRUE(ask_name(context, "a.test").outcome);
  EXPECT_EQ(stream_->alpn(), "");
  const Seen refused = ask(context, offering("\x02h2\x06"
                                             "acme/1"));
  ASSERT_FALSE(refused.outcome);
  EXPECT_EQ(refused.outcome.error().code, code::kTlsAlpn);
  EXPECT_EQ(refused.alert, SSL_AD_NO_APPLICATION_PROTOCOL);
}

TEST_F(Server, ASessionResumesUnderItsOwnNameOnly) {
  const auto pair = named("both", "DNS:a.test,DNS:b.test");
  const auto first = server({pair});
  const auto reloaded = server({pair});
  const auto other = server({pair}, {.listener = "partners"});
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const auto with = [&](const char* name, SSL_SESSION* session) {
      return [=](RawClient& raw) {
        SSL_CTX_set_max_proto_version(raw.context(), version);
        raw.name(name);
        if (session != nullptr) SSL_set_session(raw.ssl(), session);
      };
    };
    SSL_SESSION* raw_session = nullptr;
    ASSERT_TRUE(ask(first, with("a.test", nullptr), &raw_session).outcome);
    const SessionPtr session(raw_session);
    ASSERT_TRUE(SSL_SESSION_is_resumable(session.get()));
    EXPECT_LE(
        SSL_SESSION_get_ticket_lifetime_hint(session.get()),
        static_cast<unsigned long>(std::chrono::seconds(TicketKeys::kTicketLifetime).count()));
    EXPECT_TRUE(ask(first, with("a.test", session.get())).resumed);
    EXPECT_TRUE(stream_->resumed());
    EXPECT_EQ(stream_->server_name(), "a.test");
    EXPECT_TRUE(ask(reloaded, with("a.test", session.get())).resumed);
    // CVE-2025-23419: a session under another name brought its rights along.
    const Seen crossed = ask(first, with("b.test", session.get()));
    EXPECT_TRUE(crossed.outcome);
    EXPECT_FALSE(crossed.resumed);
    EXPECT_FALSE(ask(other, with("a.test", session.get())).resumed);
  }
}

// RFC 5077 §4: the key's name, then the IV. More tickets than are provided for by one draw.
TEST_F(Server, EveryTicketHasAnIvOfItsOwn) {
  const auto context = server({named("a", "DNS:a.test")});
  std::set<std::string> ivs;
  constexpr std::size_t kTickets = 30;
  for (std::size_t i = 0; i < kTickets; ++i) {
    SSL_SESSION* raw_session = nullptr;
    ASSERT_TRUE(ask(context, [](RawClient& raw) { raw.name("a.test"); }, &raw_session).outcome);
    const SessionPtr session(raw_session);
    const unsigned char* ticket = nullptr;
    std::size_t bytes = 0;
    SSL_SESSION_get0_ticket(session.get(), &ticket, &bytes);
    ASSERT_GT(bytes, 32);
    ivs.emplace(reinterpret_cast<const char*>(ticket) + 16, 16);
  }
  EXPECT_EQ(ivs.size(), kTickets);
  EXPECT_FALSE(ivs.contains(std::string(16, '\0')));
}

TEST_F(Server, WithoutCertificatesEveryNameIsRefused) {
  const auto context = server({});
  ASSERT_NE(context, nullptr);
  const Seen seen = ask_name(context, "a.test");
  ASSERT_FALSE(seen.outcome);
  EXPECT_EQ(seen.outcome.error().code, code::kTlsUnknownName);
}

TEST(TicketKeys, RotateAndKeepThePreviousOneForAWhile) {
  ManualClock clock;
  TicketKeys keys(clock);
  const auto first = keys.current();
  ASSERT_TRUE(first);
  EXPECT_EQ(keys.current()->name, first->name);
  bool renew = true;
  EXPECT_TRUE(keys.find(first->name.data(), renew));
  EXPECT_FALSE(renew);
  clock.advance(TicketKeys::kRotation);
  EXPECT_NE(keys.current()->name, first->name);
  const auto still = keys.find(first->name.data(), renew);
  ASSERT_TRUE(still);
  EXPECT_EQ(still->aes, first->aes);
  EXPECT_TRUE(renew);
  clock.advance(TicketKeys::kRotation);
  EXPECT_FALSE(keys.find(first->name.data(), renew));
}

TEST(TicketKeys, AreForgottenOverALongRest) {
  ManualClock clock;
  TicketKeys keys(clock);
  const auto first = keys.current();
  clock.advance(3 * TicketKeys::kRotation);
  bool renew = false;
  EXPECT_FALSE(keys.find(first->name.data(), renew));
  EXPECT_NE(keys.current()->name, first->name);
}

}  // namespace
}  // namespace merlon::tls
