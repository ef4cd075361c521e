#include "upstream/resolver.h"

#include <ares.h>
#include <netinet/in.h>
#include <sys/epoll.h>

#include <algorithm>

namespace merlon::upstream {
namespace {

// How long one name server has for one answer, and how often it is asked.
constexpr int kTimeoutMs = 2'000;
constexpr int kTries = 2;
// How often timeouts are looked at.
constexpr milliseconds kPulse{50};
// The system's configuration is read again after this.
constexpr seconds kChannelAge{60};

std::unexpected<Error> unresolved(const char* why) {
  return fail(code::kUpstreamUnresolved, Blame::kUpstream, why);
}

/// c-ares counts its users; once for the process.
bool library_ready() {
  static const bool ready = ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS;
  return ready;
}

}  // namespace

/// A socket of c-ares in the poller.
class Resolver::Socket final : public io::Watch {
 public:
  Socket(Resolver& resolver, int fd) : resolver_(resolver), fd_(fd) {}
  ~Socket() override { resolver_.loop_.poller().remove(fd_, *this); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  void on_events(std::uint32_t events) noexcept override {
    const bool writable = (events & EPOLLOUT) != 0;
    const bool readable = (events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0;
    // Processing may close the socket, and with it this object.
    resolver_.process(readable ? fd_ : ARES_SOCKET_BAD, writable ? fd_ : ARES_SOCKET_BAD);
  }

 private:
  Resolver& resolver_;
  const int fd_;
};

class Resolver::Pulse final : public io::Timer {
 public:
  explicit Pulse(Resolver& resolver) : Timer(&Pulse::fire), resolver_(resolver) {}

 private:
  static void fire(Timer& timer) noexcept {
    Resolver& resolver = static_cast<Pulse&>(timer).resolver_;
    // Readiness is told once for each change: what was left in a socket is looked for here.
    std::vector<int> open;
    open.reserve(resolver.sockets_.size());
    for (const auto& [fd, socket] : resolver.sockets_) open.push_back(fd);
    for (const int fd : open) resolver.process(fd, ARES_SOCKET_BAD);
    resolver.process(ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    if (resolver.asked_ > 0) {
      resolver.loop_.timers().arm(*resolver.pulse_, resolver.loop_.now() + kPulse);
    }
  }
  Resolver& resolver_;
};

/// Held by the one who asks and by c-ares: who goes first leaves it to the other.
struct Resolver::Question {
  explicit Question(Resolver& asked) : resolver(&asked), answered(asked.loop_) {}
  Resolver* resolver;
  io::Signal answered;
  bool done = false;
  bool found = false;
  std::vector<IpAddress> addresses{};
};

struct Resolver::Callbacks {
  static void on_socket(void* self, ares_socket_t fd, int readable, int writable) noexcept {
    auto& resolver = *static_cast<Resolver*>(self);
    if (readable == 0 && writable == 0) {
      resolver.sockets_.erase(fd);
      return;
    }
    auto& slot = resolver.sockets_[fd];
    if (slot != nullptr) return;
    slot = std::make_unique<Socket>(resolver, fd);
    static_cast<void>(resolver.loop_.poller().add(fd, *slot));
  }

  static void on_answer(void* held, int status, int /*timeouts*/, ares_addrinfo* info) noexcept {
    const std::unique_ptr<std::shared_ptr<Question>> owner(
        static_cast<std::shared_ptr<Question>*>(held));
    Question& question = **owner;
    question.found = status == ARES_SUCCESS && info != nullptr;
    for (const ares_addrinfo_node* node = question.found ? info->nodes : nullptr; node != nullptr;
         node = node->ai_next) {
      const auto address = IpAddress::from_sockaddr(node->ai_addr);
      const bool known =
          address && std::ranges::find(question.addresses, *address) != question.addresses.end();
      if (address && !known && question.addresses.size() < kAddressesMax) {
        question.addresses.push_back(*address);
      }
    }
    ares_freeaddrinfo(info);
    question.done = true;
    --question.resolver->asked_;
    question.answered.notify_all();
  }
};

Resolver::Resolver(io::Loop& loop) : loop_(loop), pulse_(std::make_unique<Pulse>(*this)) {}

Resolver::~Resolver() { close_channel(); }

bool Resolver::open_channel() {
  const bool old = channel_ != nullptr && loop_.now() - opened_at_ > kChannelAge;
  if (old && asked_ == 0) close_channel();
  if (channel_ != nullptr) return true;
  if (!library_ready()) return false;
  ares_options options{};
  options.timeout = kTimeoutMs;
  options.tries = kTries;
  options.sock_state_cb = &Callbacks::on_socket;
  options.sock_state_cb_data = this;
  opened_at_ = loop_.now();
  return ares_init_options(&channel_, &options,
                           ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB) ==
         ARES_SUCCESS;
}

void Resolver::close_channel() noexcept {
  if (channel_ == nullptr) return;
  ares_destroy(channel_);  // ends every question
  channel_ = nullptr;
  sockets_.clear();
}

void Resolver::process(int readable, int writable) noexcept {
  if (channel_ != nullptr) ares_process_fd(channel_, readable, writable);
}

io::Task<Result<std::vector<IpAddress>>> Resolver::resolve(std::string host, Instant deadline) {
  if (const auto literal = IpAddress::parse(host)) co_return std::vector<IpAddress>{*literal};
  if (asked_ >= kQuestionsMax) co_return unresolved("too many names are being looked up");
  if (!open_channel()) co_return unresolved("the resolver cannot be set up");
  const auto question = std::make_shared<Question>(*this);
  ++asked_;
  ares_addrinfo_hints hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  ares_getaddrinfo(channel_, host.c_str(), nullptr, &hints, &Callbacks::on_answer,
                   new std::shared_ptr<Question>(question));
  if (!question->done) {
    if (!pulse_->armed()) loop_.timers().arm(*pulse_, loop_.now() + kPulse);
    const Result<void> waited = co_await question->answered.wait(deadline);
    if (!waited) co_return std::unexpected(waited.error());
  }
  if (!question->found || question->addresses.empty())
    co_return unresolved("the name has no address");
  co_return std::move(question->addresses);
}

}  // namespace merlon::upstream
