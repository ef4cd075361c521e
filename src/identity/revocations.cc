#include "identity/revocations.h"

#include <algorithm>
#include <vector>

#include "config/schema.h"
#include "config/tree.h"
#include "identity/date.h"

namespace merlon::identity {
namespace {

using config::Object;
using config::Reader;

constexpr std::size_t kEntriesMax = 100'000;

struct Revoked {
  std::optional<std::string> token_id;
  std::optional<std::string> subject;
  std::optional<TokenTime> issued_before;
  Mark at;
};
struct RevocationFile {
  std::vector<Revoked> revoked;
};

void check(const Revoked& entry, Reader& reader) {
  if (entry.token_id.has_value() &&
      (entry.subject.has_value() || entry.issued_before.has_value())) {
    reader.error(entry.at, "`jti` names one token: give nothing else with it");
  } else if (!entry.token_id.has_value() && !entry.subject.has_value() &&
             !entry.issued_before.has_value()) {
    reader.error(entry.at, "it revokes nothing", "name `jti`, `sub` or `issued_before`");
  }
}

const Object<Revoked>& entry_schema() {
  static const auto schema =
      Object<Revoked>("revoked", "Tokens that are refused.")
          .field("jti", &Revoked::token_id, config::text(), "One token, by its id.")
          .field("sub", &Revoked::subject, config::text(), "All tokens of a subject.")
          .field("issued_before", &Revoked::issued_before, date(), "Only those from before.")
          .mark(&Revoked::at)
          .check(check);
  return schema;
}

const Object<RevocationFile>& file_schema() {
  static const auto schema =
      Object<RevocationFile>("revocation list", "Tokens that are refused before they expire.")
          .required("revoked", &RevocationFile::revoked,
                    config::list_of(config::object(entry_schema()), 0, kEntriesMax), "The list.");
  return schema;
}

}  // namespace

std::shared_ptr<const Revocations> Revocations::read(std::string path, std::string text,
                                                     Diagnostics& out) {
  auto source = std::make_shared<Source>();
  source->path = std::move(path);
  source->text = std::move(text);
  const auto tree = config::Tree::parse(std::move(source), {}, out);
  if (tree == nullptr) return nullptr;
  Reader reader(out);
  const auto file = config::read(file_schema(), tree->root(), reader);
  if (!file.has_value() || !out.ok()) return nullptr;
  auto list = std::make_shared<Revocations>();
  for (const Revoked& entry : file->revoked) {
    if (entry.token_id.has_value()) {
      list->token_ids_.insert(*entry.token_id);
      continue;
    }
    const TokenTime before = entry.issued_before.value_or(INT64_MAX);
    TokenTime& held =
        entry.subject.has_value() ? list->subjects_[*entry.subject] : list->everybody_before_;
    held = std::max(held, before);
  }
  return list;
}

bool Revocations::contains(const Identity& identity) const noexcept {
  const TokenTime issued = identity.issued().value_or(INT64_MIN);
  if (issued < everybody_before_ && everybody_before_ != 0) return true;
  if (!token_ids_.empty() && token_ids_.contains(identity.token_id())) return true;
  if (subjects_.empty()) return false;
  const auto subject = subjects_.find(identity.subject());
  return subject != subjects_.end() && issued < subject->second;
}

}  // namespace merlon::identity
