#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "gateway/server.h"

/// The sockets that clients connect to, at the start and in a reload.
namespace merlon::gateway {

bool covers(const Endpoint& wide, const Endpoint& other) noexcept {
  return wide.port == other.port && wide.address.is_unspecified() &&
         (wide.address.is_v6() || !other.address.is_v6());
}

/// With SO_REUSEPORT a second gateway would silently take half of the connections: first alone.
bool Server::is_free(const Listener& listener, std::string& problem) {
  // Beside a socket of its own a reload cannot ask, nor could another gateway have come.
  const bool is_own =
      plan_ != nullptr && std::ranges::any_of(plan_->listeners, [&](const auto& l) {
        return covers(l.address, listener.address) || covers(listener.address, l.address);
      });
  if (is_own) return true;
  const io::OsResult<io::Fd> alone =
      broker_.listen_tcp(listener.address, {.backlog = 1, .reuse_port = false});
  if (!alone) {
    problem = fmt::format("listener `{}` cannot listen on {}: {}", listener.name,
                          listener.address.to_string(), alone.error().text());
  }
  return alone.has_value();
}

/// Of several for one address the first serves.
const telemetry::ActivatedSocket* Server::find_activated(const Endpoint& address) const noexcept {
  const auto given = std::ranges::find_if(activated_, [&](const telemetry::ActivatedSocket& s) {
    return s.listening && s.local == address;
  });
  return given == activated_.end() ? nullptr : &*given;
}

bool Server::bind_one(const Listener& listener, std::size_t index,
                      std::vector<std::vector<io::Fd>>& sockets, std::string& problem) {
  if (const telemetry::ActivatedSocket* const given = find_activated(listener.address)) {
    io::set_for_connections(given->fd.get());
    for (auto& of_worker : sockets) {
      of_worker[index] = io::Fd(::fcntl(given->fd.get(), F_DUPFD_CLOEXEC, 3));
      if (of_worker[index]) continue;
      problem = fmt::format("listener `{}`: {}", listener.name, io::OsError{errno}.text());
      return false;
    }
    return true;
  }
  if (!is_free(listener, problem)) return false;
  for (auto& of_worker : sockets) {
    io::OsResult<io::Fd> socket = broker_.listen_tcp(listener.address, {.reuse_port = true});
    if (!socket) {
      problem = fmt::format("listener `{}` cannot listen on {}: {}", listener.name,
                            listener.address.to_string(), socket.error().text());
      return false;
    }
    of_worker[index] = std::move(*socket);
  }
  return true;
}

bool Server::bind_new(const Plan& plan, std::vector<std::vector<io::Fd>>& sockets,
                      std::string& problem) {
  for (auto& of_worker : sockets) of_worker.resize(plan.listeners.size());
  for (const Listener& listener : plan.listeners) {
    const bool open =
        plan_ != nullptr && std::ranges::any_of(plan_->listeners, [&](const Listener& l) {
          return l.address == listener.address;
        });
    if (!open && !bind_one(listener, listener.index, sockets, problem)) return false;
  }
  return true;
}

}  // namespace merlon::gateway
