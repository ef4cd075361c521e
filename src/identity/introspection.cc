#include "identity/introspection.h"

#include <algorithm>

#include "base/ascii.h"
#include "base/base64.h"

namespace merlon::identity {
namespace {

/// As a value of application/x-www-form-urlencoded.
void append_form_value(std::string_view text, std::string& out) {
  constexpr char kHex[] = "0123456789ABCDEF";
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      out += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += '%';
    out += kHex[byte >> 4U];
    out += kHex[byte & 15U];
  }
}

}  // namespace

std::string basic_authorization(std::string_view client_id, std::string_view secret) {
  std::string pair;
  append_form_value(client_id, pair);
  pair += ':';
  append_form_value(secret, pair);
  std::string value = "Basic " + base64(pair);
  wipe_memory(pair.data(), pair.size());
  return value;
}

bool is_bearer_token(std::string_view token) noexcept {
  while (token.ends_with('=')) token.remove_suffix(1);
  return !token.empty() && std::ranges::all_of(token, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~' || c == '+' || c == '/';
  });
}

upstream::FetchRequest introspection_request(const IntrospectionSource& source,
                                             std::string_view token) {
  upstream::FetchRequest request{
      .method = "POST",
      .path = source.url.path,
      .query = source.url.query,
      .has_query = source.url.has_query,
      .fields = {{"Accept", "application/json"},
                 {"Authorization", std::string(source.authorization.reveal())},
                 {"Content-Type", "application/x-www-form-urlencoded"}},
      .body = "token=",
      .body_bytes_max = kIntrospectionBytesMax};
  append_form_value(token, request.body);
  request.body += "&token_type_hint=access_token";
  return request;
}

Result<std::shared_ptr<const Identity>> read_introspection(std::string_view body,
                                                           const TokenRules& rules, TokenTime now,
                                                           JsonDocument& document) {
  const auto unusable = [](const char* why) {
    return fail(code::kIntrospectionFailed, Blame::kUpstream, why);
  };
  const JsonLimits limits{
      .bytes_max = kIntrospectionBytesMax, .values_max = 2048, .members_max = 128, .depth_max = 8};
  const Result<JsonValue> answer = document.read(body, limits);
  if (!answer || !answer->is(JsonKind::kObject)) return unusable("the answer is no JSON object");
  const JsonValue active = answer->find("active");
  if (active.is(JsonKind::kFalse) && active) {
    return fail(code::kTokenInactive, Blame::kClient, "the token is not active");
  }
  if (!active.is(JsonKind::kTrue)) return unusable("the answer does not say `active`");
  return judge_introspected(*answer, rules, now);
}

}  // namespace merlon::identity
