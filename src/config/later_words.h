#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/schema.h"

namespace merlon::config {

/// A word of the language whose part is not built yet.
struct LaterWord {
  std::string word;
  std::string part;  ///< for people: "HTTP/2 to upstreams"
};

/// `type`, and for the words of the language that are not built yet an error that says so: the word
/// itself, or a mapping with it as a key (`hash: {by: client}`).
template <class T>
Type<T> with_later_words(const Type<T>& type, std::vector<LaterWord> later) {
  Type<T> out = type;
  out.read = [type, later = std::move(later)](const Node& node, T& into, Reader& reader) {
    for (const LaterWord& entry : later) {
      if (node.text() != entry.word && node.find(entry.word) == nullptr) continue;
      reader.error(node.at(), fmt::format("`{}` ({}) is not built into this version yet",
                                          entry.word, entry.part));
      return false;
    }
    return type.read(node, into, reader);
  };
  return out;
}

}  // namespace merlon::config
