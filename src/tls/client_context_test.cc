#include "tls/client_context.h"

#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "tls/test_wire.h"

namespace merlon::tls {
namespace {

class Upstream : public test::Wire {};

TEST_F(Upstream, IsVerifiedByChainAndName) {
  struct Case {
    const char* what;
    test::CertificateOptions certificate;
    const char* expected;
    bool want;
  };
  const Case cases[] = {
      {"its name", {.names = "DNS:up.test"}, "up.test", true},
      {"a wildcard", {.names = "DNS:*.b.test"}, "up.b.test", true},
      {"its address", {.names = "DNS:up.test,IP:127.0.0.1"}, "127.0.0.1", true},
      {"another name", {.names = "DNS:down.test"}, "up.test", false},
      {"another address", {.names = "DNS:up.test,IP:127.0.0.2"}, "127.0.0.1", false},
      {"an address as a DNS name", {.names = "DNS:127.0.0.1"}, "127.0.0.1", false},
      {"the common name", {.subject = "up.test", .names = "DNS:other.test"}, "up.test", false},
      {"an e-mail address", {.names = "email:up.test,DNS:x.test"}, "up.test", false},
      {"a URI", {.names = "URI:up.test,DNS:x.test"}, "up.test", false},
      {"part of a label", {.names = "DNS:u*.test"}, "up.test", false},
      {"two labels", {.names = "DNS:*.b.test"}, "a.up.b.test", false},
      {"a NUL inside", {.embedded_nul_name = "up.test|.evil.test"}, "up.test", false},
      {"its past", {.names = "DNS:up.test", .from_days = -9, .to_days = -2}, "up.test", false},
      {"its future", {.names = "DNS:up.test", .from_days = 2}, "up.test", false},
  };
  for (const Case& c : cases) {
    const auto pair = pki_.pair(c.certificate);
    ASSERT_NE(pair, nullptr) << c.what;
    // The server answers to what it is asked for, as a hostile upstream would.
    auto [accepted, connected] = test::tcp_pair();
    SslCtxPtr hostile(SSL_CTX_new(TLS_server_method()));
    SSL_CTX_use_certificate(hostile.get(), pair->certificate());
    SSL_CTX_use_PrivateKey(hostile.get(), pair->key());
    test::RawPeer peer(loop_, std::move(accepted), std::move(hostile));
    TlsStream stream(loop_, std::move(connected), client(c.expected));
    Result<void> outcome;
    io::TaskSet tasks;
    tasks.spawn(test::shake(stream, soon(), outcome));
    peer.shake();
    run(tasks);
    ASSERT_EQ(outcome.has_value(), c.want) << c.what;
    if (c.want) continue;
    EXPECT_EQ(outcome.error().code, code::kTlsPeerCertificate) << c.what;
    EXPECT_EQ(outcome.error().blame, Blame::kUpstream);
    EXPECT_TRUE(outcome.error().retryable);
    EXPECT_STRNE(outcome.error().what, "");
  }
}

TEST_F(Upstream, OfAnotherAuthorityIsRefused) {
  test::Pki other("another root");
  const auto ends = connect(server({other.pair("DNS:up.test")}), client("up.test"));
  ASSERT_FALSE(ends.client_outcome);
  EXPECT_EQ(ends.client_outcome.error().code, code::kTlsPeerCertificate);
  ASSERT_FALSE(ends.server_outcome);
  EXPECT_EQ(ends.server_outcome.error().code, code::kTlsAlert);
  EXPECT_EQ(ends.server->failure().alert, SSL_AD_UNKNOWN_CA);
}

TEST_F(Upstream, ThatSpeaksBeforeTlsIsRefused) {
  // CVE-2026-1642: an answer in plain text, taken for that of the upstream.
  auto [accepted, connected] = test::tcp_pair();
  test::RawPeer peer(loop_, std::move(accepted));
  peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno");
  TlsStream stream(loop_, std::move(connected), client("up.test"));
  Result<void> outcome;
  io::TaskSet tasks;
  tasks.spawn(test::shake(stream, soon(), outcome));
  run(tasks);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, code::kTlsNotTls);
  char byte = 0;
  EXPECT_EQ(stream.try_read({&byte, 1}).status, io::Attempt::Status::kError);
}

TEST_F(Upstream, SessionsAreResumedOnceEach) {
  const auto server_context = server({pki_.pair("DNS:up.test")});
  const auto client_context = client("up.test");
  char byte = 'x';
  const iovec piece{&byte, 1};
  for (int round = 0; round < 3; ++round) {
    const auto ends = connect(server_context, client_context);
    ASSERT_TRUE(ends.ok());
    EXPECT_EQ(ends.client->resumed(), round > 0) << round;
    EXPECT_EQ(ends.server->resumed(), round > 0) << round;
    // The ticket comes with the first bytes; alone it is no news for an idle connection.
    EXPECT_FALSE(ends.client->has_unexpected_input());
    EXPECT_EQ(ends.server->try_write({&piece, 1}).status, io::Attempt::Status::kOk);
    for (int i = 0; i < 3; ++i) loop_.turn(milliseconds{1});
    EXPECT_TRUE(ends.client->has_unexpected_input());
    EXPECT_EQ(ends.client->try_read({&byte, 1}).n, 1U);
    EXPECT_FALSE(ends.client->has_unexpected_input());
  }
}

TEST_F(Upstream, ConnectsThroughTheBroker) {
  const auto broker = io::make_local_broker();
  const io::Fd listener(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(::bind(listener.get(), generic, size), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  ASSERT_EQ(::getsockname(listener.get(), generic, &size), 0);
  struct Run {
    static io::Task<void> connect(io::Loop& loop, io::Broker& through, Endpoint endpoint,
                                  std::shared_ptr<ClientContext> context, Instant deadline,
                                  Result<std::unique_ptr<TlsStream>>& made) {
      made = co_await connect_tls(loop, through, endpoint, std::move(context), deadline);
    }
  };
  Result<std::unique_ptr<TlsStream>> made;
  io::TaskSet tasks;
  tasks.spawn(Run::connect(loop_, *broker, *Endpoint::from_sockaddr(generic), client("up.test"),
                           soon(), made));
  io::Fd accepted(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK));
  TlsStream peer(loop_, std::move(accepted), server({pki_.pair("DNS:up.test")}));
  Result<void> outcome;
  tasks.spawn(test::shake(peer, soon(), outcome));
  run(tasks);
  ASSERT_TRUE(made.has_value());
  EXPECT_TRUE(outcome.has_value());
  EXPECT_EQ(peer.server_name(), "up.test");
}

TEST_F(Upstream, FilesThatCannotServeAreNamed) {
  const auto broker = io::make_local_broker();
  const test::Folder folder;
  UpstreamTls config;
  const WallTime now = clock_.wall_now();
  const auto load = [&](const std::string& path) {
    config.ca = test::file_at(path, 7);
    return ClientContext::load(config, "up.test", false, {}, *broker, now, out_);
  };
  EXPECT_NE(load(folder.write("ca.pem", pki_.root_pem())), nullptr);
  EXPECT_TRUE(out_.all().empty());
  EXPECT_EQ(load("/nonexistent/ca.pem"), nullptr);
  EXPECT_EQ(load(folder.write("empty.pem", "nothing")), nullptr);
  EXPECT_EQ(load(folder.write("cut.pem", pki_.root_pem() + pki_.root_pem().substr(0, 200))),
            nullptr);
  ASSERT_EQ(out_.error_count(), 3U);
  for (const Diagnostic& found : out_.all()) EXPECT_EQ(found.at.line, 7U);
}

TEST_F(Upstream, ABrokenFileHoldsBackNoOther) {
  const auto broker = io::make_local_broker();
  const test::Folder folder;
  const auto key = test::ec_key();
  const auto me = [&](const char* name) {
    return test::pem_of(test::make_certificate(key.get(), {.subject = name}).get());
  };
  UpstreamTls config;
  config.ca = test::file_at(folder.write("ca", pki_.root_pem()), 1);
  config.cert = test::file_at(folder.write("cert", me("first")), 2);
  config.key = test::file_at(folder.write("key", test::pem_of(key.get())), 3);
  const auto load = [&](const ClientContext* in_force) {
    return ClientContext::load(config, "up.test", false, {}, *broker, clock_.wall_now(), out_,
                               in_force);
  };
  const auto trusts = [](const ClientContext& context, const test::Pki& pki) {
    X509_STORE* store = SSL_CTX_get_cert_store(context.native());
    STACK_OF(X509_OBJECT)* all = X509_STORE_get0_objects(store);
    for (int i = 0; i < sk_X509_OBJECT_num(all); ++i) {
      if (X509_cmp(X509_OBJECT_get0_X509(sk_X509_OBJECT_value(all, i)), pki.root()) == 0)
        return true;
    }
    return false;
  };
  const auto first = load(nullptr);
  ASSERT_NE(first, nullptr);

  test::Pki other("other");
  folder.write("key", "nothing");
  folder.write("ca", other.root_pem());
  EXPECT_EQ(load(nullptr), nullptr);
  const auto second = load(first.get());
  ASSERT_NE(second, nullptr);
  EXPECT_TRUE(trusts(*second, other));
  EXPECT_FALSE(trusts(*second, pki_)) << "an authority that was taken away is not trusted";
  X509* const kept = SSL_CTX_get0_certificate(second->native());
  EXPECT_EQ(X509_cmp(kept, SSL_CTX_get0_certificate(first->native())), 0);

  folder.write("key", test::pem_of(key.get()));
  folder.write("cert", me("second"));
  folder.write("ca", "nothing");
  const auto third = load(second.get());
  ASSERT_NE(third, nullptr);
  EXPECT_TRUE(trusts(*third, other));
  EXPECT_NE(X509_cmp(kept, SSL_CTX_get0_certificate(third->native())), 0);
}

}  // namespace
}  // namespace merlon::tls
