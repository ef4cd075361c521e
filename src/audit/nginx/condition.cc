#include "audit/nginx/condition.h"

#include <vector>

#include "audit/nginx/pattern.h"

namespace merlon::audit::nginx {

std::optional<Condition> condition_of(const Directive& block) {
  if (!block.is("if") || block.args.empty()) return std::nullopt;
  std::vector<std::string_view> words;
  words.reserve(block.args.size());
  for (const Word& word : block.args) words.push_back(word.text);
  if (words.front().starts_with('(')) words.front().remove_prefix(1);
  if (words.front().empty()) words.erase(words.begin());
  if (!words.empty() && words.back().ends_with(')')) words.back().remove_suffix(1);
  if (words.size() > 1 && words.back().empty() && !block.args.back().quoted) words.pop_back();
  if (words.empty() || !words.front().starts_with('$')) return std::nullopt;
  Condition out;
  out.variable = words[0].substr(1);
  if (words.size() == 1) return out;
  if (words.size() != 3) return std::nullopt;
  const std::string_view sign = words[1];
  out.value = words[2];
  out.ignore_case = sign.ends_with('*');
  if (sign == "=") {
    out.test = Condition::Test::kEqual;
  } else if (sign == "!=") {
    out.test = Condition::Test::kNotEqual;
  } else if (sign == "~" || sign == "~*") {
    out.test = Condition::Test::kMatch;
  } else if (sign == "!~" || sign == "!~*") {
    out.test = Condition::Test::kNotMatch;
  } else {
    return std::nullopt;
  }
  return out;
}

bool holds_for(const Condition& condition, std::string_view text) {
  const auto matches = [&] {
    return Pattern(condition.value, condition.ignore_case).search(text).value_or(false);
  };
  switch (condition.test) {
    case Condition::Test::kTrue:
      return !text.empty() && text != "0";
    case Condition::Test::kEqual:
      return text == condition.value;
    case Condition::Test::kNotEqual:
      return text != condition.value;
    case Condition::Test::kMatch:
      return matches();
    case Condition::Test::kNotMatch:
      return !matches();
  }
  return false;
}

}  // namespace merlon::audit::nginx
