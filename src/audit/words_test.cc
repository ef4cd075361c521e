#include "audit/words.h"

#include <gtest/gtest.h>

namespace merlon::audit {
namespace {

using Words = std::vector<std::string>;

TEST(Words, EndAtSignsDigitsAndCapitals) {
  EXPECT_EQ(words_of("/news/"), Words{"news"});
  EXPECT_EQ(words_of("~ ^/(ws|events)[0-9]+$"), (Words{"ws", "events", "0", "9"}));
  EXPECT_EQ(words_of("/chatHub/v2"), (Words{"chat", "hub", "v", "2"}));
  EXPECT_EQ(words_of("X-API-Key"), (Words{"x", "api", "key"}));
  EXPECT_EQ(words_of("http_x_user_sid"), (Words{"http", "x", "user", "sid"}));
  EXPECT_EQ(words_of("-/_"), Words{});
}

TEST(Words, AreHeldAgainstWholesAndParts) {
  EXPECT_TRUE(has_word("/live/", {"live"}));
  EXPECT_FALSE(has_word("/deliveries/", {"live"}));
  EXPECT_TRUE(has_word("/files/", {"file*"}));
  EXPECT_FALSE(has_word("/profile/", {"file*"}));
  EXPECT_TRUE(has_word("/caldav/", {"*dav"}));
  EXPECT_TRUE(has_word("/websockets/", {"*socket*"}));
}

struct NameCase {
  const char* name;
  bool secret;
};

TEST(Words, TellASecretFromWhatIsSaidOfOne) {
  constexpr NameCase kCases[] = {{"x-token", true},
                                 {"X-AuthToken", true},
                                 {"HTTP_X_API_KEY", true},
                                 {"x-apikey", true},
                                 {"client-secret-2", true},
                                 {"db_password", true},
                                 {"x-token-issuer", false},
                                 {"token_type", false},
                                 {"csrf-token-name", false},
                                 {"x-api-version", false},
                                 {"tokenizer", false},
                                 {"keyboard", false},
                                 {"", false}};
  for (const NameCase& test : kCases) EXPECT_EQ(names_secret(test.name), test.secret) << test.name;
}

TEST(Words, TellAuthenticationFromAuthors) {
  for (const char* text : {"/auth/", "/oauth2/", "authorize", "cookie_aspxauth", "authtoken"}) {
    EXPECT_TRUE(speaks_of_authentication(text)) << text;
  }
  for (const char* text : {"/authors", "cookie_author_theme", "authority", "/books"}) {
    EXPECT_FALSE(speaks_of_authentication(text)) << text;
  }
}

TEST(Words, TellWhichPathsAreOpenByNature) {
  for (const char* path : {"/healthz", "/live", "/.well-known/acme-challenge/", "/oauth2/callback",
                           "= /favicon.ico", "/static/", "\\.(css|ico)$", "/webhooks/stripe"}) {
    EXPECT_TRUE(is_open_by_nature(path)) << path;
  }
  for (const char* path : {"/deliveries", "/authors", "/olive", "/api/", "/healthcare",
                           "/non-public/", "/admin-login", "/"}) {
    EXPECT_FALSE(is_open_by_nature(path)) << path;
  }
}

}  // namespace
}  // namespace merlon::audit
