#include <benchmark/benchmark.h>
#include <malloc.h>

#include "tls/test_pki.h"
#include "tls/test_tcp.h"
#include "tls/tls_stream.h"

namespace merlon::tls {
namespace {

/// Two streams over loopback on one loop, without googletest around them.
class Bed {
 public:
  explicit Bed(KeyPtr key = test::ec_key()) {
    const auto pair = pki_.pair(std::string("DNS:a.test"), std::move(key));
    Diagnostics out;
    server_ = ServerContext::make({.listener = "public"}, {&pair, 1},
                                  std::make_shared<TicketKeys>(clock_), out);
    client_ = make_client();
  }
  std::shared_ptr<ClientContext> make_client() {
    Diagnostics out;
    return ClientContext::make({.ca_pem = pki_.root_pem(), .server_name = "a.test"}, nullptr, {},
                               out);
  }
  struct Ends {
    std::unique_ptr<TlsStream> server;
    std::unique_ptr<TlsStream> client;
  };
  Ends connect() {
    auto [accepted, connected] = test::tcp_pair();
    Ends ends{std::make_unique<TlsStream>(loop_, std::move(accepted), server_),
              std::make_unique<TlsStream>(loop_, std::move(connected), client_)};
    Result<void> outcomes[2];
    io::TaskSet tasks;
    const Instant deadline = loop_.now() + seconds{5};
    tasks.spawn(test::shake(*ends.server, deadline, outcomes[0]));
    tasks.spawn(test::shake(*ends.client, deadline, outcomes[1]));
    while (!tasks.empty()) loop_.turn(milliseconds{5});
    return ends;
  }
  io::Loop& loop() { return loop_; }
  [[nodiscard]] const std::shared_ptr<const ServerContext>& server() const { return server_; }

 private:
  SystemClock clock_;
  io::Loop loop_{clock_};
  test::Pki pki_;
  std::shared_ptr<const ServerContext> server_;
  std::shared_ptr<ClientContext> client_;
};

// Both sides on one thread, so a server's share is about half of an ECDSA handshake.
void BM_Handshake(benchmark::State& state) {
  Bed bed(state.range(0) == 0 ? test::ec_key() : test::rsa_key(2048));
  for (auto _ : state) {
    const auto ends = bed.connect();
    benchmark::DoNotOptimize(ends.server.get());
    // Without reading, the client never sees its ticket: no handshake resumes.
  }
}
BENCHMARK(BM_Handshake)->Arg(0)->Arg(1)->ArgName("rsa")->Unit(benchmark::kMicrosecond);

void BM_Resumption(benchmark::State& state) {
  Bed bed;
  std::int64_t resumed = 0;
  for (auto _ : state) {
    const auto ends = bed.connect();
    bed.loop().turn(milliseconds{0});
    benchmark::DoNotOptimize(ends.client->has_unexpected_input());  // takes the ticket
    if (ends.client->resumed()) ++resumed;
  }
  state.counters["resumed"] =
      static_cast<double>(resumed) / static_cast<double>(state.iterations());
}
BENCHMARK(BM_Resumption)->Unit(benchmark::kMicrosecond);

/// CPU time of this thread.
double cpu_seconds() {
  timespec now{};
  static_cast<void>(::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now));
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// The server's share alone: the client's work is not counted.
void BM_ServerHandshake(benchmark::State& state) {
  Bed bed(state.range(0) == 0 ? test::ec_key() : test::rsa_key(2048));
  for (auto _ : state) {
    auto [accepted, connected] = test::tcp_pair();
    test::RawPeer raw(bed.loop(), std::move(connected));
    raw.name("a.test");
    SSL_do_handshake(raw.ssl());
    const std::string hello = raw.take_output();
    test::must(::send(raw.fd(), hello.data(), hello.size(), 0) > 0);
    Result<void> outcome;
    double cpu = -cpu_seconds();
    TlsStream stream(bed.loop(), std::move(accepted), bed.server());
    io::TaskSet tasks;
    tasks.spawn(test::shake(stream, bed.loop().now() + seconds{5}, outcome));
    // The hello is there already: one turn answers it.
    bed.loop().turn(milliseconds{5});
    cpu += cpu_seconds();
    raw.receive();
    SSL_do_handshake(raw.ssl());
    const std::string finished = raw.take_output();
    test::must(::send(raw.fd(), finished.data(), finished.size(), 0) > 0);
    cpu -= cpu_seconds();
    while (!tasks.empty()) bed.loop().turn(milliseconds{0});
    cpu += cpu_seconds();
    test::must(outcome.has_value());
    state.SetIterationTime(cpu);
  }
}
BENCHMARK(BM_ServerHandshake)
    ->Arg(0)
    ->Arg(1)
    ->ArgName("rsa")
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond);

// Budget: an idle connection holds at most 16 KiB, kernel apart. One iteration makes 500
// connections; the figure is for the server's side with its stream.
void BM_IdleMemory(benchmark::State& state) {
  constexpr int kConnections = 500;
  Bed bed;
  std::string request(300, 'r');
  for (auto _ : state) {
    std::vector<Bed::Ends> all;
    all.reserve(kConnections);
    all.push_back(bed.connect());
    const std::size_t before = ::mallinfo2().uordblks;
    for (int i = 0; i < kConnections; ++i) {
      Bed::Ends ends = bed.connect();
      for (TlsStream* from : {ends.client.get(), ends.server.get()}) {
        TlsStream* to = from == ends.client.get() ? ends.server.get() : ends.client.get();
        const iovec piece{request.data(), request.size()};
        from->try_write({&piece, 1});
        bed.loop().turn(milliseconds{5});
        to->try_read(request);
        to->release_idle_memory();
      }
      all.push_back(std::move(ends));
    }
    const std::size_t both = ::mallinfo2().uordblks - before;
    for (Bed::Ends& ends : all) ends.client.reset();
    const std::size_t server = ::mallinfo2().uordblks - before;
    state.counters["server_bytes"] = static_cast<double>(server) / kConnections;
    state.counters["both_bytes"] = static_cast<double>(both) / kConnections;
  }
}
BENCHMARK(BM_IdleMemory)->Iterations(1);

void BM_Transfer(benchmark::State& state) {
  Bed bed;
  const auto ends = bed.connect();
  std::string data(static_cast<std::size_t>(state.range(0)), 'd');
  std::string into(64 * 1024, '\0');
  for (auto _ : state) {
    const iovec piece{data.data(), data.size()};
    std::size_t sent = 0;
    std::size_t got = 0;
    while (got < data.size()) {
      if (sent < data.size()) {
        const iovec rest{data.data() + sent, data.size() - sent};
        const io::Attempt attempt = ends.client->try_write({&rest, 1});
        if (attempt.status == io::Attempt::Status::kOk) sent += attempt.n;
      }
      bed.loop().turn(milliseconds{0});
      while (ends.server->readable() && got < data.size()) {
        const io::Attempt attempt = ends.server->try_read(into);
        if (attempt.status != io::Attempt::Status::kOk) break;
        got += attempt.n;
      }
    }
    benchmark::DoNotOptimize(piece.iov_base);
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_Transfer)->Arg(300)->Arg(16 * 1024)->Arg(1024 * 1024)->ArgName("bytes");

}  // namespace
}  // namespace merlon::tls
