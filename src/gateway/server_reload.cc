#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "gateway/policy_files.h"
#include "gateway/server.h"
#include "telemetry/process_stats.h"

/// How a running gateway takes another configuration, or other files of the one in force.
namespace merlon::gateway {
namespace {

using telemetry::num;
using telemetry::str;

// How often the process log says which waivers are over, or soon will be.
constexpr std::chrono::hours kTellWaivers{24};

}  // namespace

std::string Server::reload() {
  if (stopping_) {
    constexpr std::string_view kProblem = "the gateway is stopping, and takes no configuration";
    tell_refused({}, kProblem);
    return fmt::format("refused\n{}\n", kProblem);
  }
  notifier_.reloading(clock_.now());
  // A configuration that did not change stays in force whatever the date says.
  LoadResult loaded = source_.load(broker_, clock_.wall_now(), kStrict);
  if (loaded.plan == nullptr) {
    LoadResult same = source_.load(broker_, clock_.wall_now(), kUnchanged);
    // Keys that went bad under it are no reason to give up those in force.
    const bool unchanged = same.plan != nullptr && same.plan->text_hash == plan_->text_hash;
    if (unchanged && only_those_in_use_ended(same, in_force_, clock_.wall_now()))
      loaded = std::move(same);
  }
  std::string problem, answer;
  std::vector<std::vector<io::Fd>> sockets(metrics_->workers());
  if (loaded.plan == nullptr) {
    loaded.diagnostics.sort();
    problem = loaded.diagnostics.render();
  } else if (loaded.plan->limits.workers != plan_->limits.workers &&
             workers_for(loaded.plan->limits) != metrics_->workers()) {
    problem = "`limits.workers` changed: that takes a restart\n";
  } else if (loaded.plan->admin_address != plan_->admin_address ||
             loaded.plan->admin_socket != plan_->admin_socket) {
    problem = "`admin` changed: that takes a restart\n";
  } else if (loaded.plan->access_log != plan_->access_log ||
             loaded.plan->process_log != plan_->process_log) {
    problem = "a log file changed: that takes a restart\n";
  } else if (!bind_new(*loaded.plan, sockets, problem)) {
    problem += '\n';
  }
  if (problem.empty()) {
    watch_files(loaded);
    answer = take(std::move(loaded), std::move(sockets));
    tell_unused_sockets();
    tell_descriptors();
    tell_waivers();
  } else {
    metrics_->count_reload_failure();
    tell_refused(loaded.diagnostics, problem);
    answer = "refused\n" + problem;
  }
  notifier_.ready();
  return answer;
}

/// `apply` while the gateway runs. Returns what a reload is answered with.
std::string Server::take(LoadResult loaded, std::vector<std::vector<io::Fd>> sockets) {
  const std::size_t missing = apply(std::move(loaded), std::move(sockets));
  if (missing != 0) return fmt::format("late {} of {}\n", missing, metrics_->workers());
  events_->info("reloaded", {str("config_hash", plan_->hash), num("routes", plan_->routes.size())});
  return fmt::format("ok {}\n", plan_->hash);
}

/// Each error for itself: all of them in one text would be cut, and warnings may come first there.
void Server::tell_refused(const Diagnostics& found, std::string_view problem) {
  if (problem.ends_with('\n')) problem.remove_suffix(1);
  if (found.ok()) events_->error("reload_refused", {str("reason", problem)});
  for (const Diagnostic& one : found.all()) {
    if (one.severity != Severity::kError) continue;
    events_->error("reload_refused", {str("at", one.at.file_line()), str("rule", one.rule),
                                      str("reason", one.message), str("help", one.help)});
  }
}

void Server::watch_files(const LoadResult& loaded) {
  watch_ = std::make_unique<tls::FileWatch>(watched_files(loaded.config), loaded.files, broker_);
  bad_files_.clear();
  metrics_->set_bad_files(loaded.bad_files.size());
}

/// Only the files that the configuration names: what is being edited in its text, or what an
/// operator has not yet asked for, waits for a reload.
void Server::take_changed_files() {
  if (!watch_->due(broker_, clock_.now())) return;
  LoadResult loaded = reload_files(in_force_, broker_, clock_.wall_now());
  const bool all_taken = loaded.plan != nullptr && loaded.bad_files.empty();
  std::string bad = loaded.plan != nullptr ? "" : loaded.diagnostics.render();
  for (const Diagnostic& file : loaded.bad_files)
    bad += fmt::format("{}: {}\n", file.at.file_line(), file.message);
  // Without a plan nobody knows of how many files something is wrong: of one at least.
  metrics_->set_bad_files(std::max<std::size_t>(loaded.bad_files.size(), loaded.plan == nullptr));
  const bool same = watch_->is_again() && bad == bad_files_;
  bad_files_ = std::move(bad);
  if (!same) apply_changed_files(std::move(loaded));
  if (all_taken) watch_->taken();
}

void Server::apply_changed_files(LoadResult loaded) {
  events_->info("files_changed");
  tell_bad_files("file_not_taken", loaded.bad_files);
  if (loaded.plan == nullptr) {
    metrics_->count_reload_failure();
    tell_refused(loaded.diagnostics, "");
    return;
  }
  notifier_.reloading(clock_.now());
  std::vector<std::vector<io::Fd>> sockets(metrics_->workers());
  for (auto& of_worker : sockets) of_worker.resize(loaded.plan->listeners.size());
  static_cast<void>(take(std::move(loaded), std::move(sockets)));
  notifier_.ready();
}

void Server::tell_bad_files(telemetry::Name event, const std::vector<Diagnostic>& files) {
  for (const Diagnostic& file : files) {
    events_->error(event, {str("at", file.at.file_line()), str("rule", file.rule),
                           str("reason", file.message)});
  }
}

/// Long before that many connections the gateway sheds for want of descriptors.
void Server::tell_descriptors() {
  const std::uint64_t most = telemetry::ProcessStats::fds_max();
  if (plan_->limits.connections <= most) return;
  events_->warning("descriptors_too_few",
                   {num("connections", plan_->limits.connections), num("descriptors", most),
                    str("help",
                        "raise the limit of open files (LimitNOFILE, ulimit -n), or lower "
                        "limits.connections")});
}

/// A date does not end a gateway, so that it is not missed: who reads the log hears of it each day.
void Server::tell_waivers() {
  tell_waivers_at_ = clock_.now() + kTellWaivers;
  const auto today = std::chrono::floor<std::chrono::days>(clock_.wall_now());
  for (const config::Waiver& waiver : plan_->waivers) {
    const bool over = waiver.expired(today);
    if (!over && !waiver.ends_soon(today)) continue;
    const std::string date = config::format_date(waiver.expires);
    const auto fields = {str("rule", waiver.rule), str("on", waiver.on), str("owner", waiver.owner),
                         str("expires", date)};
    if (over) {
      events_->error("waiver_expired", fields);
    } else {
      events_->warning("waiver_expiring", fields);
    }
  }
}

}  // namespace merlon::gateway
