#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <utility>

#include "io/frame_pool.h"

namespace merlon::io {

template <class T>
class Task;

namespace detail {

/// What every task's promise shares: lazy start, return to the awaiting coroutine, pooled frames.
class PromiseBase {
 public:
  static void* operator new(std::size_t bytes) { return FramePool::allocate(bytes); }
  static void operator delete(void* frame, std::size_t bytes) noexcept {
    FramePool::release(frame, bytes);
  }

  struct FinalAwaiter {
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> done) const noexcept {
      return done.promise().continuation_;
    }
    void await_resume() const noexcept {}
  };

  [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
  [[nodiscard]] FinalAwaiter final_suspend() const noexcept { return {}; }
  /// Failures are values; an exception that reaches a task is a broken promise of our own.
  [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
  void set_continuation(std::coroutine_handle<> handle) noexcept { continuation_ = handle; }
  /// Who waits for this coroutine; null for the root of a chain.
  [[nodiscard]] std::coroutine_handle<> continuation() const noexcept { return continuation_; }

 private:
  std::coroutine_handle<> continuation_;
};

template <class T>
class Promise final : public PromiseBase {
 public:
  Task<T> get_return_object() noexcept;
  template <class U>
  void return_value(U&& value) {
    value_.emplace(std::forward<U>(value));
  }
  T take() { return std::move(*value_); }

 private:
  std::optional<T> value_;
};

template <>
class Promise<void> final : public PromiseBase {
 public:
  Task<void> get_return_object() noexcept;
  void return_void() const noexcept {}
  void take() const noexcept {}
};

}  // namespace detail

/// A coroutine that starts when it is awaited and gives its result to the one who awaits it.
///
/// Owned by whoever holds it; it is awaited once, and it lives at least until it has finished.
/// Await it in a statement of its own: `T x = co_await f();`. Not thread-safe: a task stays on its
/// worker.
///
/// A plain function may return a task too: the one of a coroutine that it calls last, or
/// `Task::ready` when there is nothing to wait for, which costs no frame.
template <class T>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  explicit Task(Handle handle) noexcept : handle_(handle) {}
  Task(Task&& other) noexcept
      : handle_(std::exchange(other.handle_, nullptr)), value_(std::move(other.value_)) {}
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  Task& operator=(Task&&) = delete;
  ~Task() {
    if (handle_) handle_.destroy();
  }

  /// A task that has its result already.
  [[nodiscard]] static Task ready(T value) {
    Task task{Handle{}};
    task.value_.emplace(std::move(value));
    return task;
  }

  /// The result of a task that was ready from the start, to be looked at without awaiting; nullptr
  /// of any other.
  [[nodiscard]] const T* result() const noexcept { return value_ ? &*value_ : nullptr; }

  struct Awaiter {
    Task& task;
    [[nodiscard]] bool await_ready() const noexcept { return !task.handle_; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiting) const noexcept {
      task.handle_.promise().set_continuation(waiting);
      return task.handle_;
    }
    T await_resume() const {
      return task.handle_ ? task.handle_.promise().take() : std::move(*task.value_);
    }
  };
  Awaiter operator co_await() & noexcept { return {*this}; }
  Awaiter operator co_await() && noexcept { return {*this}; }

 private:
  Handle handle_;
  std::optional<T> value_;  ///< of a task that was ready from the start
};

template <>
class [[nodiscard]] Task<void> {
 public:
  using promise_type = detail::Promise<void>;
  using Handle = std::coroutine_handle<promise_type>;

  explicit Task(Handle handle) noexcept : handle_(handle) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  Task& operator=(Task&&) = delete;
  ~Task() {
    if (handle_) handle_.destroy();
  }

  [[nodiscard]] static Task ready() noexcept { return Task{Handle{}}; }

  struct Awaiter {
    Handle handle;
    [[nodiscard]] bool await_ready() const noexcept { return !handle; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiting) const noexcept {
      handle.promise().set_continuation(waiting);
      return handle;
    }
    void await_resume() const noexcept {}
  };
  Awaiter operator co_await() const& noexcept { return {handle_}; }
  Awaiter operator co_await() && noexcept { return {handle_}; }

 private:
  Handle handle_;
};

namespace detail {
template <class T>
Task<T> Promise<T>::get_return_object() noexcept {
  return Task<T>(std::coroutine_handle<Promise<T>>::from_promise(*this));
}
inline Task<void> Promise<void>::get_return_object() noexcept {
  return Task<void>(std::coroutine_handle<Promise<void>>::from_promise(*this));
}

/// The root of a chain of tasks: starts at once, frees itself at the end.
struct Root {
  struct promise_type : PromiseBase {
    [[nodiscard]] Root get_return_object() const noexcept { return {}; }
    [[nodiscard]] std::suspend_never initial_suspend() const noexcept { return {}; }
    [[nodiscard]] std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
  };
};
}  // namespace detail

/// Owns tasks that run beside each other. Its owner ends them (by cancelling what they wait for)
/// and waits for `empty()` before the set goes; a set that dies with live tasks aborts.
class TaskSet {
 public:
  TaskSet() = default;
  TaskSet(const TaskSet&) = delete;
  TaskSet& operator=(const TaskSet&) = delete;
  ~TaskSet() {
    if (live_ != 0) std::terminate();
  }

  /// Runs `task` up to its first wait, then beside everything else.
  void spawn(Task<void> task) {
    run(std::move(task), [] {});
  }
  /// The same, and calls `then` when it has ended and the set does not count it any more.
  template <class Then>
  void spawn(Task<void> task, Then then) {
    run(std::move(task), std::move(then));
  }
  [[nodiscard]] bool empty() const noexcept { return live_ == 0; }
  [[nodiscard]] std::size_t size() const noexcept { return live_; }

 private:
  template <class Then>
  detail::Root run(Task<void> task, Then then) {
    ++live_;
    co_await task;
    --live_;
    then();
  }
  std::size_t live_ = 0;
};

/// One task beside its parent, which joins it before it goes.
///
/// `Fork pump(copy(a, b)); … co_await pump.join();` To end it early, cancel what it waits for, then
/// join. A fork that dies unjoined while its task is live aborts.
class Fork {
 public:
  explicit Fork(Task<void> task) { run(std::move(task)); }
  Fork(const Fork&) = delete;
  Fork& operator=(const Fork&) = delete;
  ~Fork() {
    if (!done_) std::terminate();
  }

  [[nodiscard]] bool done() const noexcept { return done_; }

  struct Join {
    Fork& fork;
    [[nodiscard]] bool await_ready() const noexcept { return fork.done_; }
    void await_suspend(std::coroutine_handle<> waiting) const noexcept { fork.parent_ = waiting; }
    void await_resume() const noexcept {}
  };
  [[nodiscard]] Join join() noexcept { return {*this}; }

 private:
  detail::Root run(Task<void> task) {
    co_await task;
    done_ = true;
    // The parent may free this fork when it goes on, so nothing of it is touched afterwards.
    if (parent_) parent_.resume();
  }
  std::coroutine_handle<> parent_;
  bool done_ = false;
};

}  // namespace merlon::io
