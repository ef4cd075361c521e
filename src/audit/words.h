#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

/// The words that a name or a path is made of.
namespace merlon::audit {

/// The words of `text` in lower case: runs of letters, and runs of digits. A capital behind a small
/// letter begins another: "/chatHub/v2" has "chat", "hub", "v" and "2".
[[nodiscard]] std::vector<std::string> words_of(std::string_view text);

/// True when a word of `text` is one of `patterns`: "live" is the whole word, "file*" how it
/// begins, "*dav" how it ends, and "*socket*" any part of it.
[[nodiscard]] bool has_word(std::string_view text,
                            std::initializer_list<std::string_view> patterns);

/// True when a field, cookie or variable of that name holds a secret: a token, a key, a password.
/// What is said of one, as by "X-Token-Issuer", is none.
[[nodiscard]] bool names_secret(std::string_view name);

/// True when a word of `text` is about who someone is: "auth", "oauth", "authorize"; not "author".
[[nodiscard]] bool speaks_of_authentication(std::string_view text);

/// True for paths that ask nobody who they are by what they are: health checks, ACME challenges,
/// sign-in, static files, webhooks.
[[nodiscard]] bool is_open_by_nature(std::string_view path);

}  // namespace merlon::audit
