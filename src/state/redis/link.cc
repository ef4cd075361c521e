#include "state/redis/link.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <initializer_list>
#include <optional>
#include <utility>

namespace merlon::state::redis {
namespace {

// How often an idle connection is asked for a sign of life, and sentinels for the master.
constexpr milliseconds kHeartbeat{1'000};
constexpr std::string_view kProbeKey = "merlon:probe";
constexpr std::size_t kWordsMax = 16;
constexpr milliseconds kPauseFirst{50};
constexpr std::uint32_t kPauseDoublings = 5;  // 1.6 s, and up to a quarter more

std::string words(std::initializer_list<std::string_view> list) {
  return command({list.begin(), list.size()});
}

std::unexpected<Error> wrong(std::uint16_t code, const char* what) noexcept {
  return fail(code, Blame::kUpstream, what);
}

/// What SENTINEL get-master-addr-by-name answers: an address and a port, or nil.
Result<Endpoint> master_of(const Reply& reply) {
  if (reply.is_error("NOAUTH"))
    return wrong(code::kStateAnswer, "a sentinel asks for a password, and there is none");
  if (reply.is_error()) return wrong(code::kStateAnswer, "a sentinel answers with an error");
  if (reply.top().kind == Value::Kind::kNil)
    return wrong(code::kStateAnswer, "the sentinels know no master of this name");
  if (reply.values().size() != 3 || reply.top().kind != Value::Kind::kArray)
    return wrong(code::kStateProtocol, "a sentinel answers something else");
  const auto address = IpAddress::parse(reply.text(reply.values()[1]));
  const std::string_view digits = reply.text(reply.values()[2]);
  std::uint16_t port = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  // They were told to (`sentinel announce-hostnames yes`), and to look names up here could end with
  // another server than theirs.
  if (!address || read.ec != std::errc{} || port == 0)
    return wrong(code::kStateAnswer,
                 "the sentinels name the master by a host name, not by its address");
  return Endpoint{.address = *address, .port = port};
}

/// True for what a sentinel says, or how TLS with it fails: nearer to the cause than that another
/// one cannot be reached.
bool tells_cause(const Error& error) noexcept {
  return error.code == code::kStateAnswer || error.code == code::kStateProtocol ||
         is_tls_error(error.code);
}

/// Why there is no connection. A server that knows no TLS says nothing to a greeting, or hangs up.
Error unconnected(const Error& error, bool over_tls) noexcept {
  if (is_tls_error(error.code)) return error;
  const bool may_be_plain = over_tls && error.code != code::kRefused;
  return {.code = code::kStateLost,
          .blame = Blame::kUpstream,
          .what = may_be_plain ? "Redis cannot be connected to, or does not speak TLS"
                               : "Redis cannot be connected to"};
}

/// Whom a connection greets: what is refused is told in the server's own words.
struct Greeted {
  Connection& connection;
  Endpoint server;
  LinkWatcher& watcher;

  [[nodiscard]] std::unexpected<Error> refuses(const Reply& reply,
                                               const char* what) const noexcept {
    watcher.on_error(server, reply.text());
    return wrong(code::kStateAnswer, what);
  }
};

/// Logs in, where there is a password. `refused` says who does not take it.
io::Task<Result<void>> authenticate(Greeted greeted, const Settings& settings,
                                    const char* refused) {
  if (settings.password.empty()) co_return Result<void>{};
  const std::string_view user =
      settings.username.empty() ? std::string_view("default") : std::string_view(settings.username);
  const Result<Reply> reply =
      co_await greeted.connection.ask(words({"AUTH", user, settings.password.reveal()}));
  if (!reply) co_return std::unexpected(reply.error());
  if (reply->is_error()) co_return greeted.refuses(*reply, refused);
  co_return Result<void>{};
}

/// Whether the server is one that may be written to.
io::Task<Result<void>> check_role(Greeted greeted) {
  const Result<Reply> reply = co_await greeted.connection.ask(words({"ROLE"}));
  if (!reply) co_return std::unexpected(reply.error());
  if (reply->is_error("NOAUTH"))
    co_return greeted.refuses(*reply, "Redis asks for a password, and there is none");
  if (reply->is_error()) co_return greeted.refuses(*reply, "Redis refuses ROLE");
  const bool master = reply->values().size() > 1 && reply->text(reply->values()[1]) == "master";
  if (!master) co_return wrong(code::kStateRole, "this Redis is no master");
  co_return Result<void>{};
}

}  // namespace

std::string command(std::span<const std::string_view> words) {
  std::string out;
  write_command(out, words);
  return out;
}

std::string run_command(std::string_view verb, std::string_view script, std::string_view key,
                        std::span<const std::string_view> arguments) {
  std::array<std::string_view, kWordsMax> words{verb, script, "1", key};
  const std::size_t count = std::min(arguments.size(), kWordsMax - 4);
  std::ranges::copy(arguments.first(count), words.begin() + 4);
  return command({words.data(), 4 + count});
}

Link::Link(io::Loop& loop, io::Broker& broker, std::shared_ptr<const Settings> settings,
           std::span<const Script> scripts, Endpoint endpoint, LinkWatcher& watcher)
    : loop_(loop),
      broker_(broker),
      settings_(std::move(settings)),
      scripts_(scripts),
      endpoint_(endpoint),
      watcher_(watcher),
      changed_(loop),
      ready_(loop) {}

void Link::close() noexcept {
  closed_ = true;
  if (std::exchange(down_told_, false)) watcher_.on_gone(endpoint_);
  if (connection_ != nullptr) connection_->close({.code = code::kStateLost, .what = "closed"});
  changed_.cancel();
  ready_.cancel();
}

void Link::failed(Error why) noexcept {
  if (connection_ == nullptr) return;
  connection_->close(why);
  note_failure(why);
}

void Link::doubt(std::string_view error) noexcept {
  doubted_ = true;
  watcher_.on_error(endpoint_, error);
}

void Link::note_failure(const Error& why) noexcept {
  up_ = false;
  why_ = why;
  ++failures_;
  // The sentinel that led here may be cut off from the others, with a master that was.
  ++first_sentinel_;
  ready_.notify_all();
  if (closed_ || std::exchange(down_told_, true)) return;
  watcher_.on_down(endpoint_, why);
}

io::Task<Result<Reply>> Link::ask(std::string commands, Instant deadline, std::uint32_t skip) {
  if (!up_ && failures_ == 0 && !closed_) {
    [[maybe_unused]] const Result<void> waited = co_await ready_.wait(deadline);
  }
  if (!up_)
    co_return std::unexpected(failures_ == 0 ? Error{.code = code::kStateTimeout,
                                                     .blame = Blame::kUpstream,
                                                     .what = "there is no connection to Redis yet"}
                                             : why_);
  co_return co_await connection_->ask(std::move(commands), skip, deadline);
}

io::Task<void> Link::run() {
  while (!closed_) {
    Result<Endpoint> found = co_await locate();
    if (found) {
      endpoint_ = *found;
      Result<std::unique_ptr<io::SocketStream>> stream =
          co_await connect(loop_, broker_, endpoint_, settings_, loop_.now() + settings_->timeout);
      if (stream && !closed_) {
        connection_ =
            std::make_unique<Connection>(loop_, std::move(*stream), settings_->timeout, changed_);
        co_await serve();
      } else if (!stream) {
        note_failure(unconnected(stream.error(), settings_->tls != nullptr));
      }
    } else {
      note_failure(found.error());
    }
    if (closed_ || failures_ == 0) continue;
    [[maybe_unused]] const Result<void> rested = co_await changed_.wait(loop_.now() + pause());
  }
  ended_ = true;
}

/// The life of one connection, from its first command on.
io::Task<void> Link::serve() {
  const Instant began = loop_.now();
  worked_ = false;
  io::Fork moving(connection_->run());
  const Result<void> greeted = co_await greet();
  if (greeted) {
    up_ = true;
    why_ = {};
    ready_.notify_all();
    if (std::exchange(down_told_, false)) watcher_.on_up(endpoint_);
    bool good = true;
    while (good && !closed_ && !connection_->is_over()) {
      const Result<void> ended = co_await changed_.wait(loop_.now() + kHeartbeat);
      if (ended || closed_ || connection_->is_over()) break;
      good = co_await still_good();
      // It lasted: nothing of earlier failures is left, whether anybody has asked meanwhile or not.
      if (good && up_) failures_ = 0;
    }
  }
  up_ = false;
  const Error why = greeted ? connection_->why() : greeted.error();
  connection_->close(why);
  co_await moving.join();
  // Those whose answers failed go on first: they stand on the connection.
  co_await loop_.yield();
  if (closed_) co_return;
  // A connection that was of use and ended is made again at once; one that was not is a failure.
  const bool silent = why.code == code::kStateTimeout || why.code == code::kStateProtocol;
  const bool of_use = worked_ || loop_.now() - began >= kHeartbeat;
  if (!greeted || silent || !of_use) note_failure(why);
}

/// What a new connection must answer before it is used.
io::Task<Result<void>> Link::greet() {
  const Greeted greeted{*connection_, endpoint_, watcher_};
  const Result<void> known =
      co_await authenticate(greeted, *settings_, "Redis refuses the user or the password");
  if (!known) co_return known;
  if (settings_->topology != Topology::kCluster) {
    const Result<void> role = co_await check_role(greeted);
    if (!role) co_return role;
  }
  for (const Script& script : scripts_) {
    const Result<Reply> loaded = co_await connection_->ask(words({"SCRIPT", "LOAD", script.text}));
    if (!loaded) co_return std::unexpected(loaded.error());
    // While it reads its files it says so (LOADING) to whoever asks for anything.
    if (loaded->is_error()) {
      watcher_.on_error(endpoint_, loaded->text());
      co_return wrong(code::kStateAnswer, "Redis does not take the scripts");
    }
  }
  co_return co_await try_scripts();
}

/// A server whose memory is full, or that may not write or count for another reason, is of no use.
io::Task<Result<void>> Link::try_scripts() {
  doubted_ = false;
  for (const Script& script : scripts_) {
    if (script.probe.empty()) continue;
    const Result<Reply> run =
        co_await connection_->ask(run_command("EVALSHA", script.sha1, kProbeKey, script.probe));
    if (!run) co_return std::unexpected(run.error());
    // Of a cluster's nodes one has the key.
    if (!run->is_error() || run->is_error("MOVED") || run->is_error("ASK")) continue;
    watcher_.on_error(endpoint_, run->text());
    co_return wrong(code::kStateAnswer, "Redis does not run the script that counts");
  }
  co_return Result<void>{};
}

/// Between heartbeats: the server answers, and the sentinels still name it.
io::Task<bool> Link::still_good() {
  if (settings_->topology == Topology::kSentinel) {
    const Result<Endpoint> master = co_await locate();
    if (master && *master != endpoint_) {
      connection_->close(
          {.code = code::kStateRole, .blame = Blame::kUpstream, .what = "the master has moved"});
      co_return false;
    }
  }
  if (doubted_) {
    const Result<void> tried = co_await try_scripts();
    if (!tried) failed(tried.error());
    co_return tried.has_value();
  }
  if (connection_->waiting() != 0 || loop_.now() - connection_->last_answer() < kHeartbeat)
    co_return true;
  const Result<Reply> alive = co_await connection_->ask(words({"PING"}));
  co_return alive.has_value();
}

/// The master that the first sentinel to answer names.
io::Task<Result<Endpoint>> Link::locate() {
  if (settings_->topology != Topology::kSentinel) co_return endpoint_;
  const std::vector<Endpoint>& sentinels = settings_->endpoints;
  Error why{.code = code::kStateLost, .blame = Blame::kUpstream, .what = "no sentinel answers"};
  for (std::size_t i = 0; i < sentinels.size() && !closed_; ++i) {
    const std::size_t index = (first_sentinel_ + i) % sentinels.size();
    const Result<Endpoint> master = co_await ask_sentinel(sentinels[index]);
    if (master) {
      first_sentinel_ = index;
      co_return master;
    }
    if (!tells_cause(why) && tells_cause(master.error())) why = master.error();
  }
  co_return std::unexpected(why);
}

io::Task<Result<Endpoint>> Link::ask_sentinel(Endpoint sentinel) {
  Result<std::unique_ptr<io::SocketStream>> stream =
      co_await connect(loop_, broker_, sentinel, settings_, loop_.now() + settings_->timeout);
  if (!stream) co_return std::unexpected(stream.error());
  io::Signal ended(loop_);
  const auto connection =
      std::make_unique<Connection>(loop_, std::move(*stream), settings_->timeout, ended);
  io::Fork moving(connection->run());
  const std::string question = words({"SENTINEL", "get-master-addr-by-name", settings_->master});
  Result<Reply> reply = co_await connection->ask(question);
  if (reply && reply->is_error("NOAUTH")) {
    const Greeted greeted{*connection, sentinel, watcher_};
    const Result<void> known =
        co_await authenticate(greeted, *settings_, "a sentinel refuses the user or the password");
    if (known) {
      reply = co_await connection->ask(question);
    } else {
      reply = std::unexpected(known.error());
    }
  }
  connection->close({.code = code::kStateLost, .what = "closed"});
  co_await moving.join();
  if (!reply) co_return std::unexpected(reply.error());
  if (reply->is_error()) watcher_.on_error(sentinel, reply->text());
  co_return master_of(*reply);
}

/// Longer with each failure, and not the same for all workers and nodes.
milliseconds Link::pause() noexcept {
  const std::uint32_t doublings = std::min(failures_ - 1, kPauseDoublings);
  const milliseconds base = kPauseFirst * (1U << doublings);
  const auto spread = static_cast<std::uint64_t>(loop_.clock().now().time_since_epoch().count()) /
                      1'000 % static_cast<std::uint64_t>(base.count() / 4 + 1);
  return base + milliseconds{static_cast<std::int64_t>(spread)};
}

}  // namespace merlon::state::redis
