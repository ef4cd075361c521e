#include "http/status.h"

namespace merlon::http {

// NOLINTNEXTLINE(readability-function-size): a table.
std::string_view reason_phrase(unsigned status) noexcept {
  switch (status) {
    case 100:
      return "Continue";
    case 101:
      return "Switching Protocols";
    case 103:
      return "Early Hints";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 203:
      return "Non-Authoritative Information";
    case 204:
      return "No Content";
    case 205:
      return "Reset Content";
    case 206:
      return "Partial Content";
    case 207:
      return "Multi-Status";
    case 208:
      return "Already Reported";
    case 226:
      return "IM Used";
    case 300:
      return "Multiple Choices";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 303:
      return "See Other";
    case 304:
      return "Not Modified";
    case 305:
      return "Use Proxy";
    case 307:
      return "Temporary Redirect";
    case 308:
      return "Permanent Redirect";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 402:
      return "Payment Required";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 406:
      return "Not Acceptable";
    case 407:
      return "Proxy Authentication Required";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 410:
      return "Gone";
    case 411:
      return "Length Required";
    case 412:
      return "Precondition Failed";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 416:
      return "Range Not Satisfiable";
    case 417:
      return "Expectation Failed";
    case 421:
      return "Misdirected Request";
    case 422:
      return "Unprocessable Content";
    case 423:
      return "Locked";
    case 424:
      return "Failed Dependency";
    case 425:
      return "Too Early";
    case 426:
      return "Upgrade Required";
    case 428:
      return "Precondition Required";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 451:
      return "Unavailable For Legal Reasons";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    case 506:
      return "Variant Also Negotiates";
    case 507:
      return "Insufficient Storage";
    case 508:
      return "Loop Detected";
    case 511:
      return "Network Authentication Required";
    default:
      return {};
  }
}

namespace {

unsigned status_for_client(std::uint16_t failure) noexcept {
  switch (failure) {
    case code::kTimedOut:
    case code::kHeadTooSlow:
    case code::kBodyTooSlow:
      return 408;
    case code::kHeadTooLarge:
    case code::kTooManyFields:
      return 431;
    case code::kTargetTooLong:
      return 414;
    case code::kBodyTooLarge:
      return 413;
    case code::kUnsupportedVersion:
      return 505;
    case code::kUnsupportedCoding:
    case code::kTunnelProtocol:
      return 501;
    case code::kWebSocketVersion:
      return 426;
    case code::kUnsupportedExpect:
      return 417;
    case code::kConnectRefused:
    case code::kMethodNotAllowed:
      return 405;
    case code::kNoRoute:
      return 404;
    case code::kMisdirected:
      return 421;
    case code::kCleartextRefused:
    case code::kNetworkNotAllowed:
      return 403;
    case code::kTooManyConnections:
      return 429;
    default:
      return 400;
  }
}

/// Overload is nobody's fault in particular: it is 503 whoever is blamed.
bool is_shedding(std::uint16_t failure) noexcept {
  return failure == code::kOverloaded || failure == code::kDraining || failure == code::kResources;
}

}  // namespace

unsigned status_for(const Error& error) noexcept {
  if (is_shedding(error.code)) return 503;
  switch (error.blame) {
    case Blame::kClient:
      return status_for_client(error.code);
    case Blame::kPolicy: {
      const unsigned status = status_for_client(error.code);
      return status == 400 ? 403 : status;
    }
    case Blame::kUpstream:
      switch (error.code) {
        case code::kTimedOut:
        case code::kUpstreamTimeout:
        case code::kUpstreamConnectTimeout:
          return 504;
        case code::kUpstreamUnavailable:
        case code::kUpstreamLimit:
        case code::kUpstreamUnhealthy:
          return 503;
        default:
          return 502;
      }
    case Blame::kInternal:
      return 500;
  }
  return 500;
}

}  // namespace merlon::http
