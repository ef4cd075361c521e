#include "identity/token.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>

#include "identity/base64url.h"
#include "identity/test_tokens.h"

namespace merlon::identity {
namespace {

using testing::SigningKey;

constexpr TokenTime kNow = 2'000'000'000;
constexpr std::string_view kGood =
    R"({"iss":"https://id.example/","aud":"api","exp":2000000300,"iat":2000000000,"sub":"u1","client_id":"c1","jti":"t1","scope":"a b"})";

AlgorithmSet every_algorithm() {
  AlgorithmSet all;
  for (std::size_t i = 0; i < kAlgorithmCount; ++i) all.add(static_cast<Algorithm>(i));
  return all;
}

TokenRules rules() {
  TokenRules r;
  r.issuer = "https://id.example/";
  r.audiences = {"api"};
  r.leeway_s = 30;
  return r;
}

const SigningKey& rsa() {
  static const SigningKey key(Algorithm::kRs256, "r1");
  return key;
}
const SigningKey& ec() {
  static const SigningKey key(Algorithm::kEs256, "e1");
  return key;
}

Result<std::shared_ptr<const Identity>> accept(std::string_view token, const std::string& jwks,
                                               const TokenRules& by = rules()) {
  static TokenReader reader;
  const auto set = read_jwks(jwks);
  if (!set.has_value()) return fail(code::kKeysUnavailable, Blame::kInternal, "no keys");
  std::uint64_t key_id = 0;
  return reader.accept(token, by, *set->keys, kNow, key_id);
}

std::uint16_t refusal(std::string_view token, const std::string& jwks = ec().jwks(),
                      const TokenRules& by = rules()) {
  const auto got = accept(token, jwks, by);
  return got.has_value() ? std::uint16_t{0} : got.error().code;
}

TEST(Token, EachAlgorithmIsVerifiedWhenListed) {
  for (std::size_t i = 0; i < kAlgorithmCount; ++i) {
    const auto algorithm = static_cast<Algorithm>(i);
    const SigningKey key(algorithm, "k");
    TokenRules all = rules();
    all.algorithms = every_algorithm();
    const std::string token = key.token(kGood);
    const auto identity = accept(token, key.jwks(), all);
    ASSERT_TRUE(identity.has_value()) << name_of(algorithm) << identity.error().what;
    EXPECT_EQ((*identity)->subject(), "u1");
    const bool is_default = algorithm == Algorithm::kRs256 || algorithm == Algorithm::kEs256;
    EXPECT_EQ(refusal(token, key.jwks()), is_default ? 0 : code::kTokenAlgorithm);
  }
}

TEST(Token, SaysWhoAsks) {
  TokenRules wants = rules();
  wants.claims = {"/tenant", "/realm/roles", "/missing"};
  const auto identity = accept(
      ec().token(
          R"({"iss":"https://id.example/","aud":["x","api"],"exp":2000000300,"sub":"u1","client_id":"c1","jti":"t1","scope":"read write","tenant":"t1","realm":{"roles":["a","b",7,true,null]}})"),
      ec().jwks(), wants);
  ASSERT_TRUE(identity.has_value()) << identity.error().what;
  const Identity& who = **identity;
  EXPECT_EQ(who.subject(), "u1");
  EXPECT_EQ(who.client_id(), "c1");
  EXPECT_EQ(who.token_id(), "t1");
  EXPECT_EQ(who.expires(), 2'000'000'300);
  EXPECT_TRUE(who.has_scope("read"));
  EXPECT_TRUE(who.has_scope("write"));
  EXPECT_FALSE(who.has_scope("rea"));
  EXPECT_FALSE(who.has_scope("read write"));
  EXPECT_FALSE(who.has_scope(""));
  EXPECT_TRUE(who.claim_is(0, "t1"));
  EXPECT_EQ(who.claim_value(0), "t1");
  EXPECT_TRUE(who.claim_is(1, "b"));
  EXPECT_TRUE(who.claim_is(1, "7"));
  EXPECT_TRUE(who.claim_is(1, "true"));
  EXPECT_FALSE(who.claim_is(1, "t1"));
  EXPECT_EQ(who.claim_text(1), "a,b,7,true");
  EXPECT_FALSE(who.claim_value(1).has_value());
  EXPECT_FALSE(who.claim_is(2, ""));
  EXPECT_FALSE(who.claim_is(3, "t1"));
}

struct Claims {
  const char* name;
  std::string payload;
  std::uint16_t want;
};

std::string with(std::string_view rest) {
  return fmt::format(R"({{"iss":"https://id.example/","aud":"api","exp":2000000300{}}})", rest);
}
std::string with_exp(std::string_view exp) {
  return fmt::format(R"({{"iss":"https://id.example/","aud":"api","exp":{}}})", exp);
}

const Claims kClaims[] = {
    {"all_there", with(""), 0},
    {"no_issuer", R"({"aud":"api","exp":2000000300})", code::kTokenClaims},
    {"other_issuer", R"({"iss":"https://id.example","aud":"api","exp":2000000300})",
     code::kTokenIssuer},
    {"issuer_list", R"({"iss":["https://id.example/"],"aud":"api","exp":2000000300})",
     code::kTokenClaims},
    {"no_audience", R"({"iss":"https://id.example/","exp":2000000300})", code::kTokenClaims},
    {"other_audience", R"({"iss":"https://id.example/","aud":"web","exp":2000000300})",
     code::kTokenAudience},
    {"empty_audiences", R"({"iss":"https://id.example/","aud":[],"exp":2000000300})",
     code::kTokenAudience},
    {"audience_object", R"({"iss":"https://id.example/","aud":{"api":1},"exp":2000000300})",
     code::kTokenClaims},
    {"audience_of_numbers", R"({"iss":"https://id.example/","aud":["api",1],"exp":2000000300})",
     code::kTokenClaims},
    {"no_expiry", R"({"iss":"https://id.example/","aud":"api"})", code::kTokenClaims},
    {"expired", with_exp("1999999970"), code::kTokenExpired},
    {"expired_within_leeway", with_exp("1999999971"), 0},
    {"expiry_overflows", with_exp("9223372036854775808"), code::kTokenClaims},
    {"expiry_overflows_sums", with_exp("9223372036854775807"), code::kTokenClaims},
    {"expiry_huge", with_exp("1e400"), code::kTokenClaims},
    {"expiry_exponent", with_exp("2e9"), code::kTokenClaims},
    {"expiry_fraction", with_exp("2000000300.5"), code::kTokenClaims},
    {"expiry_text", with_exp("\"2000000300\""), code::kTokenClaims},
    {"expiry_null", with_exp("null"), code::kTokenClaims},
    {"expiry_true", with_exp("true"), code::kTokenClaims},
    {"expiry_list", with_exp("[2000000300]"), code::kTokenClaims},
    {"expiry_negative", with_exp("-1"), code::kTokenClaims},
    {"lives_too_long", with_exp("2000100000"), code::kTokenLifetime},
    {"lived_too_long", with(R"(,"iat":1900000000)"), code::kTokenLifetime},
    {"not_before", with(R"(,"nbf":2000000031)"), code::kTokenNotYetValid},
    {"not_before_within_leeway", with(R"(,"nbf":2000000030)"), 0},
    {"not_before_text", with(R"(,"nbf":"0")"), code::kTokenClaims},
    {"issued_in_future", with(R"(,"iat":2000000031)"), code::kTokenNotYetValid},
    {"issued_fraction", with(R"(,"iat":2000000000.1)"), code::kTokenClaims},
    {"id_token_nonce", with(R"(,"nonce":"n")"), code::kTokenType},
    {"id_token_at_hash", with(R"(,"at_hash":"n")"), code::kTokenType},
    {"id_token_c_hash", with(R"(,"c_hash":"n")"), code::kTokenType},
    {"logout_token", with(R"(,"events":{})"), code::kTokenType},
    {"subject_number", with(R"(,"sub":7)"), code::kTokenClaims},
    {"subject_empty", with(R"(,"sub":"")"), code::kTokenClaims},
    {"duplicate_subject", with(R"(,"sub":"u1","sub":"admin")"), code::kTokenMalformed},
    {"byte_order_mark", "\xef\xbb\xbf" + with(""), code::kTokenMalformed},
    {"bad_utf8", with(",\"sub\":\"\xff\""), code::kTokenMalformed},
    {"deep", with(",\"x\":" + std::string(50, '[') + std::string(50, ']')), code::kTokenMalformed},
    {"list", "[]", code::kTokenMalformed},
    {"empty", "", code::kTokenMalformed},
    {"scope_number", with(R"(,"scope":1)"), code::kTokenClaims},
    {"scope_in_scope", with(R"(,"scope":["a b"])"), code::kTokenClaims},
    {"binding_unknown", with(R"(,"cnf":{"kid":"x"})"), code::kTokenBinding},
    {"binding_empty", with(R"(,"cnf":{})"), code::kTokenBinding},
    {"binding_short", with(R"(,"cnf":{"jkt":"AAAA"})"), code::kTokenBinding},
    {"binding_text", with(R"(,"cnf":"x")"), code::kTokenBinding},
};
class TokenClaims : public ::testing::TestWithParam<Claims> {};
TEST_P(TokenClaims, AreJudged) {
  const auto got = accept(ec().token(GetParam().payload), ec().jwks());
  if (GetParam().want == 0) {
    EXPECT_TRUE(got.has_value()) << got.error().what;
  } else {
    ASSERT_FALSE(got.has_value());
    EXPECT_EQ(got.error().code, GetParam().want) << got.error().what;
  }
}
INSTANTIATE_TEST_SUITE_P(Rfc7519, TokenClaims, ::testing::ValuesIn(kClaims),
                         [](const auto& test) { return test.param.name; });

TEST(Token, ScopesMayBeAList) {
  const auto got = accept(ec().token(with(R"(,"scp":["a","b"])")), ec().jwks());
  ASSERT_TRUE(got.has_value());
  EXPECT_TRUE((*got)->has_scope("b"));
}

TEST(Token, BindingsAreKept) {
  const std::string print(43, 'A');
  const auto got =
      accept(ec().token(with(fmt::format(R"(,"cnf":{{"jkt":"{0}","x5t#S256":"{0}"}})", print))),
             ec().jwks());
  ASSERT_TRUE(got.has_value()) << got.error().what;
  EXPECT_EQ((*got)->dpop_thumbprint(), print);
  EXPECT_EQ((*got)->certificate_thumbprint(), print);
}

struct Type {
  std::string_view text;
  bool accepted;
  bool accepted_when_tight;
};
TEST(Token, TypesAreToldApart) {
  constexpr Type kTypes[] = {
      {"", true, false},
      {"JWT", true, false},
      {"jwt", true, false},
      {"application/jwt", true, false},
      {"at+jwt", true, true},
      {"application/at+jwt", true, true},
      {"AT+JWT", true, true},
      {"dpop+jwt", false, false},
      {"logout+jwt", false, false},
      {"secevent+jwt", false, false},
      {"JOSE", false, false},
      {"token-introspection+jwt", false, false},
      {"at+jwt ", false, false},
      {"application/", false, false},
  };
  TokenRules tight = rules();
  tight.access_token_type = true;
  for (const Type& type : kTypes) {
    const std::string head = type.text.empty() ? "" : fmt::format(R"(,"typ":"{}")", type.text);
    const std::string token = ec().token(kGood, head);
    EXPECT_EQ(refusal(token), type.accepted ? 0 : code::kTokenType) << type.text;
    EXPECT_EQ(refusal(token, ec().jwks(), tight), type.accepted_when_tight ? 0 : code::kTokenType)
        << type.text;
  }
  EXPECT_EQ(refusal(ec().token(with(""), R"(,"typ":"at+jwt")"), ec().jwks(), tight),
            code::kTokenClaims);
}

// A49: there is no way to write `none`.
TEST(TokenAttack, A49NoneInEverySpelling) {
  for (const char* alg :
       {"none", "None", "NONE", "nOnE", "none ", " none", "", "null", "n\\u006fne"}) {
    for (const std::string& tail : {std::string(), std::string("AA"), ec().sign("x")}) {
      const std::string token = base64url_encode(fmt::format(R"({{"alg":"{}","kid":"e1"}})", alg)) +
                                "." + base64url_encode(kGood) + "." + tail;
      EXPECT_EQ(refusal(token), code::kTokenAlgorithm) << alg;
    }
  }
  EXPECT_NE(refusal(base64url_encode(R"({"kid":"e1"})") + "." + base64url_encode(kGood) + "."), 0);
  EXPECT_NE(refusal(base64url_encode(R"({"alg":null})") + "." + base64url_encode(kGood) + "."), 0);
  EXPECT_NE(refusal(base64url_encode(R"({"alg":["none"]})") + "." + base64url_encode(kGood) + "."),
            0);
}

// A50: an HMAC over the public key is no signature, and a key is used with its own type only.
TEST(TokenAttack, A50AlgorithmConfusion) {
  for (const char* alg :
       {"HS256", "HS384", "HS512", " HS256", "hs256", "rs256", "RS256 ", "ES256K"}) {
    EXPECT_EQ(
        refusal(rsa().token_with_head(fmt::format(R"({{"alg":"{}","kid":"r1"}})", alg), kGood),
                rsa().jwks()),
        code::kTokenAlgorithm)
        << alg;
  }
  // The key is known: that is no reason to ask the issuer for newer ones.
  EXPECT_EQ(refusal(ec().token_with_head(R"({"alg":"RS256","kid":"e1"})", kGood)),
            code::kTokenAlgorithm);
  EXPECT_EQ(refusal(rsa().token_with_head(R"({"alg":"ES256","kid":"r1"})", kGood), rsa().jwks()),
            code::kTokenAlgorithm);
  // A key that states its algorithm is used with that alone.
  TokenRules all = rules();
  all.algorithms = every_algorithm();
  const SigningKey pss(Algorithm::kPs256, "p1");
  EXPECT_EQ(refusal(pss.token(kGood), pss.jwks(R"(,"alg":"RS256")"), all), code::kTokenAlgorithm);
}

// A51: encryption proves nothing about who wrote a token.
TEST(TokenAttack, A51EncryptedTokens) {
  const std::string head = base64url_encode(R"({"alg":"RSA-OAEP","enc":"A256GCM","cty":"JWT"})");
  EXPECT_EQ(refusal(head + ".AA.AA.AA.AA"), code::kTokenMalformed);
  EXPECT_EQ(refusal(ec().token(kGood, R"(,"enc":"A256GCM")")), code::kTokenMalformed);
}

// A52: the signature that fits every text.
TEST(TokenAttack, A52PsychicSignatures) {
  const std::string text =
      base64url_encode(R"({"alg":"ES256","kid":"e1"})") + "." + base64url_encode(kGood) + ".";
  const std::string order(
      std::string_view("\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff"
                       "\xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51",
                       32));
  const std::string zero(32, '\0');
  const std::string one = std::string(31, '\0') + "\x01";
  for (const std::string& r : {zero, one, order}) {
    for (const std::string& s : {zero, one, order}) {
      EXPECT_EQ(refusal(text + base64url_encode(r + s)), code::kTokenSignature);
    }
  }
  EXPECT_EQ(refusal(text), code::kTokenSignature);
  EXPECT_EQ(refusal(text + base64url_encode(std::string(63, 'a'))), code::kTokenSignature);
}

// A53: keys that a token brings along. Nothing here can fetch, so nothing is fetched.
TEST(TokenAttack, A53KeysFromTheToken) {
  const SigningKey attacker(Algorithm::kEs256, "a1");
  const std::string jwk = attacker.jwk();
  for (const std::string& extra :
       {fmt::format(R"(,"jwk":{})", jwk), std::string(R"(,"jku":"http://127.0.0.1:28999/k")"),
        std::string(R"(,"x5u":"http://127.0.0.1:28999/c")"), std::string(R"(,"x5c":["AAAA"])")}) {
    EXPECT_EQ(refusal(attacker.token(kGood, extra)), code::kTokenKeyUnknown);
    EXPECT_EQ(refusal(attacker.token_with_head(
                  fmt::format(R"({{"alg":"ES256","kid":"e1"{}}})", extra), kGood)),
              code::kTokenSignature);
  }
}

// A54: a kid is compared, never looked up anywhere else.
TEST(TokenAttack, A54KidInjection) {
  for (const char* kid :
       {"../../../../dev/null", "/etc/passwd", "e1' OR '1'='1", "e1\\u0009", "E1", "e1 ", "",
        "http://127.0.0.1:28999/", "*", "%00", "$(id)", "e1\\n", "e1;e1"}) {
    EXPECT_EQ(
        refusal(ec().token_with_head(fmt::format(R"({{"alg":"ES256","kid":"{}"}})", kid), kGood)),
        code::kTokenKeyUnknown)
        << kid;
  }
  for (const char* kid : {"\"e1\\u0000\"", "7", "null", "[\"e1\"]", "{}"}) {
    EXPECT_EQ(
        refusal(ec().token_with_head(fmt::format(R"({{"alg":"ES256","kid":{}}})", kid), kGood)),
        code::kTokenMalformed)
        << kid;
  }
}

// A55: one token, one text.
TEST(TokenAttack, A55OtherTextsOfTheSameToken) {
  const std::string good = ec().token(kGood);
  ASSERT_EQ(refusal(good), 0);
  const std::size_t first = good.find('.');
  const std::size_t second = good.find('.', first + 1);
  for (const std::string& other :
       {good + "=", good + "==", good + " ", " " + good, good + "\n", good + ".", "." + good,
        good + ".AAAA", good.substr(0, first) + "=" + good.substr(first),
        good.substr(0, second) + "=" + good.substr(second), good.substr(0, second),
        good.substr(0, second + 1), good.substr(0, second + 5) + " " + good.substr(second + 5)}) {
    EXPECT_NE(refusal(other), 0) << other;
  }
  // The last character of 86 has four bits that mean nothing: of its 16 texts one is right.
  std::string spare = good;
  const std::string alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  int accepted = 0;
  for (const char c : alphabet) {
    spare.back() = c;
    if (refusal(spare) == 0) ++accepted;
  }
  EXPECT_EQ(accepted, 1);
}

TEST(TokenAttack, CriticalExtensionsAreRefused) {
  EXPECT_EQ(refusal(ec().token(kGood, R"(,"crit":["exp"])")), code::kTokenMalformed);
  EXPECT_EQ(refusal(ec().token(kGood, R"(,"crit":[])")), code::kTokenMalformed);
  EXPECT_EQ(refusal(ec().token(kGood, R"(,"b64":false)")), code::kTokenMalformed);
  EXPECT_EQ(refusal(ec().token(kGood, R"(,"alg":"none")")), code::kTokenMalformed);
}

TEST(Token, NothingCutShortIsAccepted) {
  const std::string good = ec().token(kGood);
  for (std::size_t cut = 0; cut < good.size(); ++cut) {
    EXPECT_NE(refusal(good.substr(0, cut)), 0) << cut;
  }
  EXPECT_EQ(refusal(std::string(20'000, 'a')), code::kTokenMalformed);
}

TEST(Token, EveryChangedByteIsSeen) {
  const std::string good = ec().token(kGood);
  for (std::size_t i = 0; i < good.size(); i += 3) {
    std::string changed = good;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    if (changed == good) continue;
    EXPECT_NE(refusal(changed), 0) << i;
  }
}

}  // namespace
}  // namespace merlon::identity
