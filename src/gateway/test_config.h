#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace merlon::gateway::test {

/// A whole configuration around what a test is about: lines of a listener, an upstream, a route,
/// and what stands beside them.
inline std::string with(std::string_view listener = "", std::string_view upstream = "",
                        std::string_view route = "", std::string_view rest = "") {
  return fmt::format(R"(version: 1
listeners:
  - name: public
    address: 127.0.0.1:8080
    {}
upstreams:
  orders:
    endpoints: [127.0.0.1:9000]
    {}
routes:
  - name: orders
    match: {{ host: a.example, path: /orders/** }}
    methods: [GET]
    auth: none
    upstream: orders
    {}
{}
)",
                     listener, upstream, route, rest);
}

}  // namespace merlon::gateway::test
