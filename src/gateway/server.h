#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gateway/load.h"
#include "gateway/monitor.h"
#include "gateway/runtime.h"
#include "gateway/worker.h"
#include "identity/agent.h"
#include "io/work_pool.h"
#include "telemetry/log_sink.h"
#include "telemetry/metrics.h"
#include "telemetry/notify.h"
#include "tls/rotation.h"
#include "upstream/health_checks.h"

namespace merlon::gateway {

/// Where the configuration comes from, so that it can be read again.
struct ConfigSource {
  std::string path;  ///< the file; for the demo only a name
  std::string text;  ///< given directly: not read from `path`
  [[nodiscard]] LoadResult load(io::Broker& broker, WallTime now, LoadMode mode) const;
};

/// The gateway as a process: starts workers, applies configurations, listens to signals and to the
/// admin socket, drains. Everything here runs on the control thread, which `run` occupies.
class Server {
 public:
  Server(io::Broker& broker, const Clock& clock, ConfigSource source);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();

  /// Loads the configuration and opens everything. False after the reasons are on standard error.
  [[nodiscard]] bool start();
  /// Serves until SIGTERM or SIGINT, then drains. SIGHUP reloads, SIGUSR1 reopens the logs. Returns
  /// the exit code.
  [[nodiscard]] int run();

 private:
  [[nodiscard]] bool open_logs(const Plan& plan);
  [[nodiscard]] bool open_control(const Plan& plan);
  void take_signals();
  /// How many a start has; without a number in the configuration, by what processors there are now.
  [[nodiscard]] static std::size_t workers_for(const Limits& limits) noexcept;
  void tell_started(std::size_t workers, const std::vector<Diagnostic>& bad_files);
  void tell_unused_sockets();
  void start_workers(std::size_t count);
  [[nodiscard]] bool open_admin(const Plan& plan);
  void start_admin();
  void adopt_admin(const Plan& plan);
  void start_monitor();
  void start_agent();
  void start_health_checks();
  /// Sockets for the listeners of `plan` that are not open yet: [worker][listener]. False, with
  /// `problem`, when one cannot be had; then nothing stays open.
  [[nodiscard]] bool bind_new(const Plan& plan, std::vector<std::vector<io::Fd>>& sockets,
                              std::string& problem);
  [[nodiscard]] const telemetry::ActivatedSocket* find_activated(
      const Endpoint& address) const noexcept;
  [[nodiscard]] bool bind_one(const Listener& listener, std::size_t index,
                              std::vector<std::vector<io::Fd>>& sockets, std::string& problem);
  [[nodiscard]] bool is_free(const Listener& listener, std::string& problem);
  struct Handover;
  /// Puts the plan in force, and waits until it is. Returns how many workers have not taken it in
  /// time; they will once they are no longer held up.
  [[nodiscard]] std::size_t apply(LoadResult loaded, std::vector<std::vector<io::Fd>> sockets);
  [[nodiscard]] std::size_t await(Handover& handover);
  [[nodiscard]] std::string take(LoadResult loaded, std::vector<std::vector<io::Fd>> sockets);
  /// Reads the configuration again: all of it is taken, or nothing changes. Returns "ok HASH",
  /// "late N of M" when workers are held up, or "refused" and the reasons in lines of their own.
  [[nodiscard]] std::string reload();
  void tell_refused(const Diagnostics& found, std::string_view problem);
  void watch_files(const LoadResult& loaded);
  void take_changed_files();
  void apply_changed_files(LoadResult loaded);
  void tell_bad_files(telemetry::Name event, const std::vector<Diagnostic>& files);
  void tell_descriptors();
  void tell_waivers();
  void on_signal();
  void reopen_logs();
  void on_admin_socket();
  void watch(milliseconds time);
  [[nodiscard]] std::string limited_report();
  void drain();
  [[nodiscard]] StatusPage status_page(std::string_view path);

  io::Broker& broker_;
  const Clock& clock_;
  const ConfigSource source_;
  std::unique_ptr<telemetry::EventLog> events_;
  std::unique_ptr<telemetry::LogSink> log_;
  std::unique_ptr<telemetry::Metrics> metrics_;
  telemetry::WorkerCounters admin_counters_;
  telemetry::Notifier notifier_;
  std::unique_ptr<Shared> shared_;
  std::shared_ptr<const Plan> plan_;
  LoadResult in_force_;    ///< of `plan_`, for `reload_files`: without configuration and findings
  std::string bad_files_;  ///< what kept the last change of files from being taken whole
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<identity::Agent> agent_;  ///< goes before the workers that it answers
  std::unique_ptr<io::WorkPool> pool_;      ///< and so does this
  std::unique_ptr<upstream::HealthChecks> health_;
  std::unique_ptr<Monitor> monitor_;
  std::vector<std::thread> threads_;
  std::vector<telemetry::ActivatedSocket> activated_;
  std::unique_ptr<tls::FileWatch> watch_;
  io::Fd signals_;
  io::Fd admin_socket_;
  io::Fd admin_listener_;  ///< of the admin address, until its worker takes it
  std::string admin_socket_path_;
  io::FileStatus admin_socket_file_;  ///< what is there as long as it is this process's
  std::mutex status_mutex_;           ///< of what the status page reads
  std::string config_hash_;
  std::vector<std::string> closed_;  ///< Plan::closed
  Instant tell_waivers_at_{};
  std::atomic<bool> ready_{false};
  bool stopping_ = false;
  bool stopped_again_ = false;  ///< asked to stop since `drain` last looked
};

}  // namespace merlon::gateway
