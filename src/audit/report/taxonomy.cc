#include "audit/report/taxonomy.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <tuple>

#include "audit/report/view.h"

namespace merlon::audit::report {
namespace {

constexpr std::array<Category, 10> kOwasp = {{
    {"API1", "Broken Object Level Authorization"},
    {"API2", "Broken Authentication"},
    {"API3", "Broken Object Property Level Authorization"},
    {"API4", "Unrestricted Resource Consumption"},
    {"API5", "Broken Function Level Authorization"},
    {"API6", "Unrestricted Access to Sensitive Business Flows"},
    {"API7", "Server Side Request Forgery"},
    {"API8", "Security Misconfiguration"},
    {"API9", "Improper Inventory Management"},
    {"API10", "Unsafe Consumption of APIs"},
}};

constexpr Category kNist[] = {
    {"AC-2", "Account Management"},
    {"AC-3", "Access Enforcement"},
    {"AC-4", "Information Flow Enforcement"},
    {"AC-6", "Least Privilege"},
    {"AC-7", "Unsuccessful Logon Attempts"},
    {"AC-12", "Session Termination"},
    {"AC-17", "Remote Access"},
    {"AU-2", "Event Logging"},
    {"AU-3", "Content of Audit Records"},
    {"AU-8", "Time Stamps"},
    {"AU-9", "Protection of Audit Information"},
    {"AU-11", "Audit Record Retention"},
    {"AU-12", "Audit Record Generation"},
    {"CM-2", "Baseline Configuration"},
    {"CM-3", "Configuration Change Control"},
    {"CM-5", "Access Restrictions for Change"},
    {"CM-6", "Configuration Settings"},
    {"CM-7", "Least Functionality"},
    {"CM-8", "System Component Inventory"},
    {"CP-2", "Contingency Plan"},
    {"CP-10", "System Recovery and Reconstitution"},
    {"IA-2", "Identification and Authentication (Organizational Users)"},
    {"IA-3", "Device Identification and Authentication"},
    {"IA-5", "Authenticator Management"},
    {"IA-9", "Service Identification and Authentication"},
    {"RA-5", "Vulnerability Monitoring and Scanning"},
    {"SA-22", "Unsupported System Components"},
    {"SC-4", "Information in Shared System Resources"},
    {"SC-5", "Denial-of-service Protection"},
    {"SC-7", "Boundary Protection"},
    {"SC-8", "Transmission Confidentiality and Integrity"},
    {"SC-12", "Cryptographic Key Establishment and Management"},
    {"SC-13", "Cryptographic Protection"},
    {"SC-17", "Public Key Infrastructure Certificates"},
    {"SC-18", "Mobile Code"},
    {"SC-20", "Secure Name/Address Resolution Service (Authoritative Source)"},
    {"SC-21", "Secure Name/Address Resolution Service (Recursive or Caching Resolver)"},
    {"SC-23", "Session Authenticity"},
    {"SC-24", "Fail in Known State"},
    {"SC-28", "Protection of Information at Rest"},
    {"SC-39", "Process Isolation"},
    {"SI-2", "Flaw Remediation"},
    {"SI-4", "System Monitoring"},
    {"SI-10", "Information Input Validation"},
    {"SI-11", "Error Handling"},
    {"SI-17", "Fail-Safe Procedures"},
};

constexpr std::array<Taxonomy, 3> kTaxonomies = {{
    {"OWASP API Top 10", "2023", "OWASP Foundation",
     "https://owasp.org/API-Security/editions/2023/en/0x11-t10/",
     "OWASP API Security Top 10 (2023)", &config::Rule::owasp, true, kOwasp},
    {"CWE",
     "4.17",
     "MITRE",
     "https://cwe.mitre.org/",
     "Common Weakness Enumeration",
     &config::Rule::cwe,
     false,
     {}},
    {"NIST SP 800-53", "Rev. 5", "NIST", "https://csrc.nist.gov/pubs/sp/800/53/r5/upd1/final",
     "Security and Privacy Controls for Information Systems and Organizations", &config::Rule::nist,
     false, kNist},
}};

/// "SC-12" as ("SC-", 12), so that SC-8 comes first.
std::tuple<std::string_view, unsigned, std::string_view> natural(std::string_view id) {
  const std::size_t digits = std::min(id.find_first_of("0123456789"), id.size());
  unsigned number = 0;
  const std::string_view rest = id.substr(digits);
  std::from_chars(rest.data(), rest.data() + rest.size(), number);
  return {id.substr(0, digits), number, id};
}

}  // namespace

std::span<const Taxonomy> taxonomies() { return kTaxonomies; }

std::vector<Category> categories_of(const Taxonomy& taxonomy) {
  std::map<std::string_view, std::string_view> found;
  for (const config::Rule& rule : config::rules()) {
    for (const std::string_view id : split_list(rule.*taxonomy.field)) found.try_emplace(id);
  }
  for (const Category& category : taxonomy.categories) {
    if (taxonomy.complete || found.contains(category.id)) found[category.id] = category.name;
  }
  std::vector<Category> out;
  out.reserve(found.size());
  for (const auto& [id, title] : found) out.push_back({id, title});
  std::ranges::sort(out, {}, [](const Category& category) { return natural(category.id); });
  return out;
}

}  // namespace merlon::audit::report
