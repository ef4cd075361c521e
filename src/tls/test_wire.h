#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>

#include "io/loop.h"
#include "io/task.h"
#include "tls/openssl_ptr.h"
#include "tls/test_pki.h"
#include "tls/test_tcp.h"
#include "tls/tls_stream.h"

/// The bed of the tests over sockets.
namespace merlon::tls::test {

/// A loop over real sockets with a server context.
class Wire : public testing::Test {
 protected:
  Wire() : tickets_(std::make_shared<TicketKeys>(clock_)) {}

  std::shared_ptr<const ServerContext> server(
      std::vector<std::shared_ptr<const CertificatePair>> pairs,
      const ServerSettings& settings = {.listener = "public"}) {
    return ServerContext::make(settings, pairs, tickets_, out_);
  }
  std::shared_ptr<ClientContext> client(const std::string& name,
                                        std::vector<std::string> alpn = {}) {
    return ClientContext::make(
        {.ca_pem = pki_.root_pem(), .server_name = name, .alpn = std::move(alpn)}, nullptr, {},
        out_);
  }
  void run(io::TaskSet& tasks, int turns = 20'000) {
    for (int i = 0; i < turns && !tasks.empty(); ++i) loop_.turn(milliseconds{5});
    ASSERT_TRUE(tasks.empty());
  }
  [[nodiscard]] Instant soon() const { return loop_.now() + seconds{5}; }

  /// Streams on both sides of a connection, with the outcomes of their handshakes.
  struct Ends {
    std::unique_ptr<TlsStream> server;
    std::unique_ptr<TlsStream> client;
    Result<void> server_outcome;
    Result<void> client_outcome;
    [[nodiscard]] bool ok() const {
      return server_outcome.has_value() && client_outcome.has_value();
    }
  };
  Ends connect(std::shared_ptr<const ServerContext> server_context,
               std::shared_ptr<ClientContext> client_context) {
    auto [accepted, connected] = tcp_pair();
    Ends ends;
    ends.server =
        std::make_unique<TlsStream>(loop_, std::move(accepted), std::move(server_context));
    ends.client =
        std::make_unique<TlsStream>(loop_, std::move(connected), std::move(client_context));
    io::TaskSet tasks;
    tasks.spawn(shake(*ends.server, soon(), ends.server_outcome));
    tasks.spawn(shake(*ends.client, soon(), ends.client_outcome));
    run(tasks);
    return ends;
  }

  SystemClock clock_;
  io::Loop loop_{clock_, io::make_epoll_poller(), io::CallBatch::open()};
  Pki pki_;
  Diagnostics out_;
  std::shared_ptr<TicketKeys> tickets_;
};

}  // namespace merlon::tls::test
