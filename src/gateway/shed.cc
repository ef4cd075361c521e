#include "gateway/shed.h"

#include "gateway/access_line.h"
#include "gateway/door.h"
#include "http/grpc.h"

namespace merlon::gateway {

std::unique_ptr<ShedAnswer> shed_request(Worker& worker, const ConnectionFacts& facts,
                                         std::uint32_t door, std::string_view protocol,
                                         const http::RequestHead* request, std::uint16_t why) {
  worker.counters().refusals.count(why);
  const bool overload = why == code::kOverloaded;
  const bool by_monitor = worker.shared().shed.load(std::memory_order_relaxed) == Shed::kRequests;
  if (overload) {
    worker.note_shed(by_monitor ? "see the event `overload`"
                                : "limits.requests_in_flight or limits.memory");
  }
  auto shed = std::make_unique<ShedAnswer>();
  shed->id = worker.ids().next();
  const bool call = request != nullptr && protocol == "HTTP/2.0" &&
                    http::is_grpc(request->fields.value(http::FieldId::kContentType));
  if (call) {
    shed->grpc.refuse(shed->head, 503);
  } else {
    make_problem(shed->head, shed->body, 503, shed->id.view());
  }
  shed->head.fields.add("Retry-After", "1", http::FieldId::kRetryAfter);
  dress(shed->head,
        {.secure = facts.secure(), .request_id = shed->id.view(), .date = worker.date()});
  if (worker.log() == nullptr) return shed;
  telemetry::AccessRecord record;
  const ConnectionText connection(facts, facts.client, record);
  record.time = worker.loop().clock().wall_now();
  record.request_id = shed->id.view();
  if (worker.plan().has_door(door)) record.listener = worker.plan().listener(door).name;
  record.protocol = protocol;
  if (request != nullptr) note_raw_target(*request, record);
  record.outcome.status = call ? shed->grpc.refused : shed->head.status;
  if (shed->grpc.told) record.outcome.grpc_status = static_cast<std::int16_t>(*shed->grpc.told);
  record.response_body_bytes = shed->body.size();
  record.outcome.refusal = telemetry::RefusalRecord{
      .step = overload ? "overload" : "connection", .rule = rule_name(why), .line = {}};
  worker.log()->write(record);
  return shed;
}

}  // namespace merlon::gateway
