#include "gateway/server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <future>
#include <limits>
#include <map>

#include "base/escape.h"
#include "base/print_error.h"
#include "base/terminal.h"

namespace merlon::gateway {
namespace {

using telemetry::num;
using telemetry::str;

// How often files named by the configuration are looked at for a change.
constexpr milliseconds kWatchInterval{2'000};
// How long a reload waits for workers to take its plan, which each does between two events.
constexpr seconds kTakeLimit{5};
// The largest answer to `merlon reload`: a thousand findings fit.
constexpr std::size_t kAnswerBytesMax = 512 * 1024;

telemetry::Level level_of(std::string_view name) {
  if (name == "debug") return telemetry::Level::kDebug;
  if (name == "warning") return telemetry::Level::kWarning;
  if (name == "error") return telemetry::Level::kError;
  return telemetry::Level::kInfo;
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  static_cast<void>(::setrlimit(RLIMIT_NOFILE, &limit));
}

/// Keys and tokens are in memory: none of it is to come into a file. A limit alone does not keep it
/// from a program that the kernel hands cores to.
void forbid_core_dumps() {
  constexpr rlimit kNone{};
  static_cast<void>(::setrlimit(RLIMIT_CORE, &kNone));
  static_cast<void>(::prctl(PR_SET_DUMPABLE, 0));
}

sigset_t handled_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1}) sigaddset(&set, number);
  return set;
}

/// As `top -H` and debuggers show it; the kernel keeps 15 characters.
std::thread run_named(std::string name, Worker& worker) {
  return std::thread([name = std::move(name), &worker] {
    static_cast<void>(::pthread_setname_np(::pthread_self(), name.c_str()));
    worker.run();
  });
}

/// Of certificates that agree in what names them, the one that ends first.
std::vector<telemetry::CertificateExpiry> expiries_of(const ListenerPairs& pairs) {
  std::vector<telemetry::CertificateExpiry> all;
  for (const auto& [listener, certificates] : pairs) {
    std::map<std::pair<std::string, std::string_view>, WallTime> ends;  // by name and type of key
    for (const auto& pair : certificates) {
      const tls::CertificateNames& names = pair->names();
      if (names.empty()) continue;
      const std::string name =
          names.dns.empty() ? names.ips.front().to_string() : names.dns.front();
      const auto [end, added] = ends.try_emplace({name, pair->key_type()}, pair->not_after());
      end->second = std::min(end->second, pair->not_after());
    }
    for (const auto& [named, end] : ends)
      all.push_back({.listener = listener,
                     .name = named.first,
                     .key_type = std::string(named.second),
                     .not_after = end});
  }
  return all;
}

/// Writes it all or gives up: the peer is a command of the same user.
void send_text(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (n <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

}  // namespace

LoadResult ConfigSource::load(io::Broker& broker, WallTime now, LoadMode mode) const {
  return text.empty() ? load_plan(path, broker, now, mode)
                      : load_plan_text(path, text, broker, now, mode);
}

Server::Server(io::Broker& broker, const Clock& clock, ConfigSource source)
    : broker_(broker),
      clock_(clock),
      source_(std::move(source)),
      notifier_(telemetry::Notifier::from_environment(broker)) {}

Server::~Server() {
  for (const auto& worker : workers_) worker->stop();
  for (std::thread& thread : threads_) thread.join();
  pool_.reset();
  agent_.reset();
  health_.reset();
  workers_.clear();
  // Another process may have made its own there since.
  const io::OsResult<io::FileStatus> there = broker_.status(admin_socket_path_);
  if (admin_socket_ && there && there->inode == admin_socket_file_.inode &&
      there->modified_ns == admin_socket_file_.modified_ns)
    ::unlink(admin_socket_path_.c_str());
}

/// Before any thread exists, so that all inherit it: signals come through a descriptor.
void Server::take_signals() {
  const sigset_t set = handled_signals();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  static_cast<void>(::signal(SIGPIPE, SIG_IGN));
  static_cast<void>(::signal(SIGUSR2, SIG_IGN));  // means something to other servers, nothing here
  signals_ = io::Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

std::size_t Server::workers_for(const Limits& limits) noexcept {
  return limits.workers != 0 ? limits.workers : std::max(1U, std::thread::hardware_concurrency());
}

bool Server::start() {
  take_signals();
  raise_descriptor_limit();
  LoadResult loaded = source_.load(broker_, clock_.wall_now(), kAtStart);
  loaded.diagnostics.sort();
  print_error("{}", loaded.diagnostics.render(wants_color(STDERR_FILENO)));
  if (loaded.plan == nullptr) return false;
  const Plan& plan = *loaded.plan;

  auto activated = telemetry::take_activated_sockets();
  if (!activated) {
    print_error("merlon: socket activation: {}\n", activated.error());
    return false;
  }
  activated_ = std::move(*activated);
  const std::size_t workers = workers_for(plan.limits);
  metrics_ = std::make_unique<telemetry::Metrics>(workers, clock_);
  forbid_core_dumps();  // now that the process's own figures in /proc are open
  if (!open_logs(plan)) return false;
  shared_ = std::unique_ptr<Shared>(new Shared{.broker = broker_,
                                               .events = *events_,
                                               .clock = clock_,
                                               .clients = {},
                                               .tables = {},
                                               .workers = workers + 1,
                                               .status_page = {},
                                               .held_bytes = {}});
  shared_->status_page = [this](std::string_view path) { return status_page(path); };

  std::vector<std::vector<io::Fd>> sockets(workers);
  std::string problem;
  if (!bind_new(plan, sockets, problem)) {
    print_error("merlon: {}\n", problem);
    return false;
  }
  if (!open_control(plan) || !open_admin(plan)) return false;
  pool_ = std::make_unique<io::WorkPool>(workers);  // a thread for each processor, as of workers
  shared_->pool = pool_.get();
  start_workers(workers);
  start_monitor();
  start_agent();
  start_health_checks();
  start_admin();
  ready_ = true;  // before the first request can ask; what comes earlier waits at the sockets
  watch_files(loaded);
  const std::vector<Diagnostic> bad_files = std::move(loaded.bad_files);
  static_cast<void>(apply(std::move(loaded), std::move(sockets)));  // it says what is amiss
  tell_started(workers, bad_files);
  return true;
}

void Server::tell_started(std::size_t workers, const std::vector<Diagnostic>& bad_files) {
  notifier_.ready();
  events_->info("started", {str("version", MERLON_VERSION), str("config_hash", plan_->hash),
                            num("workers", workers), num("listeners", plan_->listeners.size()),
                            num("routes", plan_->routes.size())});
  for (const std::string& part : plan_->closed)
    events_->error("closed_at_start",
                   {str("part", part),
                    str("reason", "a file that it needs cannot be used: see bad_file_at_start")});
  tell_unused_sockets();
  tell_bad_files("bad_file_at_start", bad_files);
  tell_descriptors();
  tell_waivers();
}

/// Whoever connects to such a socket waits for an answer that nobody gives.
void Server::tell_unused_sockets() {
  for (const telemetry::ActivatedSocket& socket : activated_) {
    const bool used = socket.listening && std::ranges::any_of(plan_->listeners, [&](const auto& l) {
                        return find_activated(l.address) == &socket;
                      });
    if (used) continue;
    events_->warning(
        "activated_socket_unused",
        {str("name", socket.name), str("address", socket.local ? socket.local->to_string() : "")});
  }
}

bool Server::open_logs(const Plan& plan) {
  auto events = telemetry::EventLog::open(
      broker_, clock_, {.target = plan.process_log, .level = level_of(plan.log_level)});
  if (!events) {
    print_error("merlon: log.process `{}`: {}\n", plan.process_log, events.error().text());
    return false;
  }
  events_ = std::move(*events);
  metrics_->set_event_drops([this] { return events_->dropped() + events_->suppressed(); });
  if (plan.access_log.empty()) return true;
  auto log = telemetry::LogSink::open(broker_, *events_,
                                      {.target = plan.access_log, .writers = metrics_->workers()});
  if (!log) {
    print_error("merlon: log.access `{}`: {}\n", plan.access_log, log.error().text());
    return false;
  }
  log_ = std::move(*log);
  metrics_->set_access_log_drops([this] { return log_->dropped(); });
  return true;
}

bool Server::open_control(const Plan& plan) {
  if (plan.admin_socket.empty()) return true;
  io::OsResult<io::Fd> socket = broker_.listen_unix(plan.admin_socket);
  if (!socket) {
    print_error("merlon: admin.socket `{}`: {}\n", plan.admin_socket, socket.error().text());
    return false;
  }
  admin_socket_ = std::move(*socket);
  admin_socket_path_ = plan.admin_socket;
  admin_socket_file_ = broker_.status(plan.admin_socket).value_or(io::FileStatus{});
  return true;
}

bool Server::open_admin(const Plan& plan) {
  if (!plan.admin_address) return true;
  io::OsResult<io::Fd> socket = broker_.listen_tcp(*plan.admin_address, {});
  if (!socket) {
    print_error("merlon: admin.address {}: {}\n", plan.admin_address->to_string(),
                socket.error().text());
    return false;
  }
  admin_listener_ = std::move(*socket);
  return true;
}

void Server::start_workers(std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    workers_.push_back(std::make_unique<Worker>(i, *shared_, metrics_->worker(i),
                                                log_ == nullptr ? nullptr : &log_->writer(i)));
    metrics_->set_loop(i, &workers_.back()->loop_counters());
    threads_.push_back(run_named(fmt::format("worker-{}", i), *workers_.back()));
  }
}

/// Before the worker of the admin address exists: that one is neither measured nor shed.
void Server::start_monitor() {
  std::vector<Worker*> watched;
  watched.reserve(workers_.size());
  for (const auto& worker : workers_) watched.push_back(worker.get());
  monitor_ = std::make_unique<Monitor>(*shared_, std::move(watched), clock_.now());
  metrics_->set_load([this] { return monitor_->gauges(); });
}

void Server::start_agent() {
  agent_ = std::make_unique<identity::Agent>(broker_, clock_, events_.get());
  shared_->agent = agent_.get();
  metrics_->add_source(
      [this](auto& families) { telemetry::add_identity_families(agent_->status(), families); });
}

void Server::start_health_checks() {
  health_ = std::make_unique<upstream::HealthChecks>(broker_, clock_, *events_);
  metrics_->set_endpoint_source([this] { return health_->endpoints(); });
  metrics_->add_source(
      [this](auto& families) { telemetry::add_health_families(health_->figures(), families); });
}

/// The admin address is a worker of its own with one listener and no route: it answers while all
/// others are busy, and nothing of it needs code of its own.
void Server::start_admin() {
  if (!admin_listener_) return;
  workers_.push_back(std::make_unique<Worker>(workers_.size(), *shared_, admin_counters_, nullptr));
  threads_.push_back(run_named("admin", *workers_.back()));
}

/// The admin address has the limits and timeouts of `plan`, but for those that it must answer
/// beyond: it counts together with all others.
void Server::adopt_admin(const Plan& plan) {
  if (workers_.size() == metrics_->workers()) return;
  auto admin = std::make_shared<Plan>();
  admin->listeners.push_back({.name = "admin",
                              .index = 0,
                              .at = {},
                              .address = *plan.admin_address,
                              .tls = nullptr,
                              .redirect_to_port = {},
                              .proxy_protocol = false,
                              .allow_from = {},
                              .serve = {.api = false, .health = true, .metrics = true}});
  admin->limits = plan.limits;
  admin->limits.connections = admin->limits.requests_in_flight =
      std::numeric_limits<std::uint32_t>::max();
  admin->limits.memory_bytes = std::numeric_limits<decltype(admin->limits.memory_bytes)>::max();
  admin->timeouts = plan.timeouts;
  auto running = std::make_shared<RunningPlan>();
  running->plan = std::move(admin);
  std::vector<io::Fd> sockets;
  sockets.push_back(std::move(admin_listener_));
  workers_.back()->adopt(std::move(running), std::move(sockets), [] {});
}

/// A plan on its way to the workers.
struct Server::Handover {
  explicit Handover(std::size_t workers) : missing(workers) {}
  std::atomic<std::size_t> missing;  ///< workers that have it not yet
  std::promise<void> all;
};

std::size_t Server::apply(LoadResult loaded, std::vector<std::vector<io::Fd>> sockets) {
  auto running = std::make_shared<RunningPlan>();
  running->plan = loaded.plan;
  for (const auto& route : loaded.plan->routes)
    running->route_slots.push_back(metrics_->route_slot(route->name));
  for (const auto& upstream : loaded.plan->upstreams)
    running->upstream_slots.push_back(metrics_->upstream_slot(upstream->name));
  std::vector<telemetry::WaiverExpiry> waivers;
  for (const config::Waiver& waiver : loaded.plan->waivers) {
    running->waiver_slots.push_back(waiver.counted ? metrics_->waiver_slot(waiver.rule, waiver.on)
                                                   : telemetry::Metrics::kOther);
    // A waiver holds on its last day, too.
    waivers.push_back({.rule = waiver.rule,
                       .on = waiver.on,
                       .counted = waiver.counted,
                       .ends = waiver.expires + std::chrono::days{1}});
  }
  metrics_->set_waivers(std::move(waivers));
  metrics_->set_certificates(expiries_of(loaded.pairs));
  std::vector<std::shared_ptr<const Upstream>> upstreams;
  for (const auto& upstream : loaded.plan->upstreams)
    upstreams.emplace_back(loaded.plan, upstream.get());  // the plan owns it
  running->health = health_->adopt(upstreams);
  agent_->adopt(loaded.plan->providers);  // before any request could have an errand for it
  const auto handover = std::make_shared<Handover>(sockets.size());
  {
    // Whoever asks a worker that has it hears of it, also right after the start.
    const std::lock_guard lock(status_mutex_);
    metrics_->set_config(loaded.plan->hash, clock_.wall_now(), loaded.plan->closed.size());
    config_hash_ = loaded.plan->hash;
    closed_ = loaded.plan->closed;
    for (std::size_t i = 0; i < sockets.size(); ++i)
      workers_[i]->adopt(running, std::move(sockets[i]), [handover] {
        if (--handover->missing == 0) handover->all.set_value();
      });
  }
  adopt_admin(*loaded.plan);
  plan_ = loaded.plan;
  loaded.config = {};
  loaded.diagnostics = {};
  in_force_ = std::move(loaded);
  events_->set_level(level_of(plan_->log_level));
  return await(*handover);
}

/// A reload is over, and told so, when it holds for every request. A worker that is held up does
/// not hold up the control thread, which is what tells of it.
std::size_t Server::await(Handover& handover) {
  const std::future<void> all = handover.all.get_future();
  const Instant limit = clock_.now() + kTakeLimit;
  while (all.wait_for(Monitor::kInterval) != std::future_status::ready) {
    monitor_->tick(clock_.now(), plan_->limits);
    if (clock_.now() < limit) continue;
    const std::size_t missing = handover.missing;
    if (missing != 0) events_->error("plan_not_taken", {num("workers", missing)});
    return missing;
  }
  return 0;
}

int Server::run() {
  Instant look_at = clock_.now() + kWatchInterval;
  while (!stopping_) {
    watch(Monitor::kInterval);
    on_signal();
    monitor_->tick(clock_.now(), plan_->limits);
    if (clock_.now() >= tell_waivers_at_) tell_waivers();
    if (stopping_ || clock_.now() < look_at) continue;
    look_at = clock_.now() + kWatchInterval;
    take_changed_files();
  }
  drain();
  return 0;
}

/// Waits for a signal, or serves a command, for so long.
void Server::watch(milliseconds time) {
  pollfd watched[2] = {{.fd = signals_.get(), .events = POLLIN, .revents = 0},
                       {.fd = admin_socket_.get(), .events = POLLIN, .revents = 0}};
  static_cast<void>(::poll(watched, admin_socket_ ? 2 : 1, static_cast<int>(time.count())));
  if ((watched[1].revents & POLLIN) != 0) on_admin_socket();
}

void Server::on_signal() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    switch (info.ssi_signo) {
      case SIGHUP:
        static_cast<void>(reload());
        break;
      case SIGUSR1:
        reopen_logs();
        break;
      default:
        stopping_ = true;
        stopped_again_ = true;
    }
  }
}

void Server::reopen_logs() {
  events_->reopen();
  if (log_ != nullptr) log_->reopen();
}

/// Whom limits refuse, a line of JSON each, the most refused first; then what there was no room
/// for.
std::string Server::limited_report() {
  const state::LimitedWindow window = monitor_->limited();
  std::string out = "ok\n";
  for (const state::LimitedClient& one : window.clients) {
    const std::string of_class =
        one.limit_class.empty() ? "" : fmt::format(R"("class":{},)", json_quoted(one.limit_class));
    out += fmt::format(R"({{"client":{},"route":{},"rule":{},{}"refused":{}}})",
                       json_quoted(one.client.to_string()), json_quoted(one.route),
                       json_quoted(one.rule), of_class, one.refused);
    out += '\n';
    if (out.size() > kAnswerBytesMax / 2) break;
  }
  return out + fmt::format(R"({{"others":{}}})", window.others) + '\n';
}

/// One command a connection. "reload\n" is answered as `reload` says, "limits\n" with "ok" and whom
/// limits refuse.
void Server::on_admin_socket() {
  const io::Fd peer(::accept4(admin_socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!peer) return;
  ucred who{};
  socklen_t length = sizeof who;
  const bool known = ::getsockopt(peer.get(), SOL_SOCKET, SO_PEERCRED, &who, &length) == 0;
  if (!known || (who.uid != 0 && who.uid != ::geteuid())) {
    events_->warning("admin_refused", {num("uid", who.uid)});
    return;
  }
  // The control thread serves one at a time: a silent peer may hold it for a second, no longer.
  const timeval wait{.tv_sec = 1, .tv_usec = 0};
  static_cast<void>(::setsockopt(peer.get(), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait));
  static_cast<void>(::setsockopt(peer.get(), SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait));
  char command[32];
  const ssize_t n = ::recv(peer.get(), command, sizeof command, 0);
  const std::string_view asked(command, n > 0 ? static_cast<std::size_t>(n) : 0);
  if (asked == "limits\n") {
    send_text(peer.get(), limited_report());
    return;
  }
  if (asked != "reload\n") {
    send_text(peer.get(), "refused\nunknown command\n");
    return;
  }
  events_->info("reload_asked", {num("uid", who.uid), num("pid", who.pid)});
  const std::string answer = reload();
  send_text(peer.get(), std::string_view(answer).substr(0, kAnswerBytesMax));
}

void Server::drain() {
  ready_ = false;
  notifier_.stopping();
  events_->info("draining");
  for (const auto& worker : workers_) worker->drain();
  const Instant deadline = clock_.now() + plan_->timeouts.drain;
  const auto all_idle = [&] {
    return std::ranges::all_of(workers_, [](const auto& worker) { return worker->idle(); });
  };
  while (!all_idle() && clock_.now() < deadline) {
    monitor_->tick(clock_.now(), plan_->limits);
    watch(milliseconds{20});
    stopped_again_ = false;
    on_signal();
    // A second request to stop does not wait any longer.
    if (stopped_again_) break;
  }
  const bool clean = all_idle();
  for (const auto& worker : workers_) worker->stop();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  monitor_->flush();
  shared_->agent = nullptr;
  metrics_->clear_sources();
  pool_.reset();
  agent_.reset();
  health_.reset();
  workers_.clear();
  events_->info("stopped", {telemetry::yes_no("drained", clean)});
}

StatusPage Server::status_page(std::string_view path) {
  if (path == "/metrics")
    return {.status = 200,
            .content_type = "text/plain; version=0.0.4; charset=utf-8",
            .body = metrics_->scrape()};
  if (path == "/healthz")
    return {.status = 200, .content_type = "application/json", .body = R"({"status":"alive"})"};
  const bool ready = ready_;
  const std::lock_guard lock(status_mutex_);
  std::string closed;
  const auto add = [&closed](const std::string& part) {
    closed += fmt::format("{}{}", closed.empty() ? "" : ",", json_quoted(part));
  };
  for (const std::string& part : closed_) add(part);
  for (const telemetry::IdentityFigures& one : agent_->status()) {
    if (!one.introspects && one.keys == 0) add("identity." + one.name);
  }
  for (const std::string& name : health_->without_endpoint()) add("upstreams." + name);
  // What is closed is closed on this node alone or on all of them: it is told, and the rest served.
  return {.status = static_cast<std::uint16_t>(ready ? 200 : 503),
          .content_type = "application/json",
          .body = fmt::format(R"({{"status":"{}","config_hash":"{}","closed":[{}]}})",
                              ready ? "ready" : "not ready", config_hash_, closed)};
}

}  // namespace merlon::gateway
