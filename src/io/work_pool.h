#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace merlon::io {

/// Threads for what takes longer than a loop may be held. First come, first served; whoever gives
/// work bounds how much of it waits.
class WorkPool {
 public:
  explicit WorkPool(std::size_t threads);
  /// Ends what has begun. What has not is let go without being done.
  ~WorkPool();
  WorkPool(const WorkPool&) = delete;
  WorkPool& operator=(const WorkPool&) = delete;

  /// Any thread. `work` is called once, on a thread of the pool, and must not throw. Never blocks.
  void run(std::function<void()> work);

 private:
  void serve();

  std::mutex mutex_;  ///< of what follows
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_;
  bool over_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace merlon::io
