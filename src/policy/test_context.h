#pragma once

#include <string>
#include <string_view>

#include "policy/policy.h"

/// A request in front of a policy, for tests.
namespace merlon::policy {

struct TestRequest {
  explicit TestRequest(std::string_view client = "192.0.2.1") { from(client); }

  void from(std::string_view client) {
    reading.client.address = *IpAddress::parse(client);
    connection.client = reading.client.address;
  }
  /// What the policy says now, in a context of its own.
  Decision ask(const Policy& policy) {
    fields.clear();
    Context context{.head = head,
                    .reading = reading,
                    .connection = connection,
                    .preflight = preflight,
                    .now = now,
                    .wall = WallTime{},
                    .fields = fields,
                    .tables = *tables,
                    .holds = holds,
                    .observations = observations,
                    .identity = identity};
    return policy.check(context);
  }
  /// The value of the field in the response; "" when it is not there.
  [[nodiscard]] std::string field(std::string_view name) const {
    for (const http::Field& line : fields.lines()) {
      if (line.name == name) return std::string(line.value);
    }
    return {};
  }

  http::RequestHead head;
  Reading reading;
  ConnectionFacts connection;
  bool preflight = false;
  Instant now{std::chrono::hours{1}};
  ResponseFields fields;
  std::shared_ptr<state::Tables> tables = std::make_shared<state::Tables>();
  state::Holds holds;
  std::shared_ptr<const identity::Identity> identity;
  Observations observations;
};

}  // namespace merlon::policy
