#include "cli/ask_gateway.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>

namespace merlon::cli {

std::optional<std::string> ask_gateway(const io::Fd& socket, std::string_view command,
                                       seconds patience) {
  const timeval time{.tv_sec = patience.count(), .tv_usec = 0};
  static_cast<void>(::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
  std::string answer;
  if (::send(socket.get(), command.data(), command.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(command.size()))
    return answer;
  char block[4096];
  for (;;) {
    const ssize_t n = ::recv(socket.get(), block, sizeof block, 0);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return std::nullopt;
    if (n <= 0) return answer;
    answer.append(block, static_cast<std::size_t>(n));
  }
}

}  // namespace merlon::cli
