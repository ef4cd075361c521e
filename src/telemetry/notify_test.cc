#include "telemetry/notify.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "telemetry/testing.h"

namespace merlon::telemetry {
namespace {

/// The service manager's end.
class Manager {
 public:
  explicit Manager(const std::string& address)
      : fd_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path, address.data(), address.size());
    if (address.front() == '@') name.sun_path[0] = '\0';
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.size());
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&name), size), 0);
  }
  std::string receive() {
    char text[512];
    const ssize_t n = ::recv(fd_.get(), text, sizeof text, 0);
    return n < 0 ? "nothing" : std::string(text, static_cast<std::size_t>(n));
  }

 private:
  io::Fd fd_;
};

class Notify : public testing::TestWithParam<bool> {
 protected:
  test::TempFolder folder_;
  std::string address_ =
      GetParam() ? "@merlon-notify-test-" + std::to_string(::getpid()) : folder_.file("notify");
  std::unique_ptr<io::Broker> broker_ = io::make_local_broker();
};

TEST_P(Notify, TellsTheManagerWhatHappens) {
  Manager manager(address_);
  ::setenv("NOTIFY_SOCKET", address_.c_str(), 1);
  Notifier notifier = Notifier::from_environment(*broker_);
  EXPECT_TRUE(notifier.active());
  EXPECT_EQ(::getenv("NOTIFY_SOCKET"), nullptr);
  notifier.ready();
  EXPECT_EQ(manager.receive(), "READY=1\n");
  notifier.reloading(Instant{microseconds{12'345'678} + nanoseconds{999}});
  EXPECT_EQ(manager.receive(), "RELOADING=1\nMONOTONIC_USEC=12345678\n");
  notifier.stopping();
  EXPECT_EQ(manager.receive(), "STOPPING=1\n");
  notifier.status("2 routes\nREADY=1");  // a name from a file must not become a message
  EXPECT_EQ(manager.receive(), "STATUS=2 routes READY=1\n");
  EXPECT_EQ(manager.receive(), "nothing");
}
INSTANTIATE_TEST_SUITE_P(Sockets, Notify, testing::Bool(),
                         [](const auto& test) { return test.param ? "abstract" : "path"; });

TEST(Notifier, WithoutAManagerDoesNothing) {
  const auto broker = io::make_local_broker();
  for (const char* socket : {"", "/nowhere/notify", "vsock:2:1", "relative"}) {
    Notifier notifier(*broker, socket);
    EXPECT_FALSE(notifier.active()) << socket;
    notifier.ready();
  }
}

struct Environment {
  const char* name;
  const char* pid;
  const char* fds;
  const char* names;
  std::optional<unsigned> count;  // nullopt: malformed
};
const Environment kEnvironments[] = {
    {"not_set", "", "", "", 0},
    {"for_us", "42", "2", "a:b", 2},
    {"without_names", "42", "2", "", 2},
    {"fewer_names", "42", "2", "a", 2},
    {"for_another", "43", "2", "a:b", 0},
    {"pid_with_text", "42x", "2", "", {}},
    {"negative_count", "42", "-1", "", {}},
    {"plus_count", "42", "+1", "", {}},
    {"too_many", "42", "1025", "", {}},
    {"overflow", "42", "99999999999999999999", "", {}},
    {"more_names_than_fds", "42", "1", "a:b", {}},
};
class ListenEnvironments : public testing::TestWithParam<Environment> {};
TEST_P(ListenEnvironments, AreReadOrRefused) {
  const Environment& c = GetParam();
  const auto got = parse_listen_environment(c.pid, c.fds, c.names, 42);
  ASSERT_EQ(got.has_value(), c.count.has_value());
  if (!got) return;
  EXPECT_EQ(got->count, *c.count);
  EXPECT_EQ(got->names.size(), *c.count);
}
INSTANTIATE_TEST_SUITE_P(All, ListenEnvironments, testing::ValuesIn(kEnvironments),
                         [](const auto& test) { return test.param.name; });

TEST(Activation, AdoptsSocketsWithTheirAddresses) {
  const auto broker = io::make_local_broker();
  auto tcp = broker->listen_tcp({.address = IpAddress::v4(0x7f000001), .port = 0}, {});
  ASSERT_TRUE(tcp.has_value());
  io::Fd udp(::socket(AF_UNIX, SOCK_DGRAM, 0));
  constexpr int kFirst = 200;  // far from whatever the test program has open
  ASSERT_EQ(::dup2(tcp->get(), kFirst), kFirst);
  ASSERT_EQ(::dup2(udp.get(), kFirst + 1), kFirst + 1);
  const auto sockets = adopt_sockets({.count = 2, .names = {"public", "unknown"}}, kFirst);
  ASSERT_TRUE(sockets.has_value()) << sockets.error();
  ASSERT_EQ(sockets->size(), 2U);
  const ActivatedSocket& listener = (*sockets)[0];
  EXPECT_EQ(listener.name, "public");
  EXPECT_TRUE(listener.listening);
  ASSERT_TRUE(listener.local.has_value());
  EXPECT_EQ(listener.local->address, IpAddress::v4(0x7f000001));
  EXPECT_NE(listener.local->port, 0);
  EXPECT_NE(::fcntl(listener.fd.get(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_NE(::fcntl((*sockets)[1].fd.get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_FALSE((*sockets)[1].local.has_value());
  EXPECT_FALSE((*sockets)[1].listening);
}

TEST(Activation, RefusesWhatIsNoSocket) {
  constexpr int kFirst = 210;
  EXPECT_FALSE(adopt_sockets({.count = 1, .names = {"a"}}, kFirst).has_value());
  const test::TempFolder folder;
  const io::Fd file(::open(folder.file("f").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  ASSERT_EQ(::dup2(file.get(), kFirst), kFirst);
  EXPECT_FALSE(adopt_sockets({.count = 1, .names = {"a"}}, kFirst).has_value());
}

TEST(Activation, TheVariablesAreTakenOnce) {
  ::setenv("LISTEN_PID", "1", 1);  // another process
  ::setenv("LISTEN_FDS", "3", 1);
  ::setenv("LISTEN_FDNAMES", "a:b:c", 1);
  const auto sockets = take_activated_sockets();
  ASSERT_TRUE(sockets.has_value());
  EXPECT_TRUE(sockets->empty());
  EXPECT_EQ(::getenv("LISTEN_FDS"), nullptr);
  EXPECT_EQ(::getenv("LISTEN_PID"), nullptr);
}

}  // namespace
}  // namespace merlon::telemetry
