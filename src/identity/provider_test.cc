#include "identity/provider.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>

#include "identity/date.h"
#include "identity/test_tokens.h"
#include "tls/test_pki.h"

namespace merlon::identity {
namespace {

using testing::SigningKey;

constexpr TokenTime kNow = 2'000'000'000;

/// Files that are not on any disk.
class FakeFiles final : public io::Broker {
 public:
  std::map<std::string, std::string> files;
  std::uint32_t mode = 0640;

  io::OsResult<std::string> read_file(const std::string& path, std::size_t) override {
    const auto found = files.find(path);
    if (found == files.end()) return std::unexpected(io::OsError{ENOENT});
    return found->second;
  }
  io::OsResult<io::FileStatus> status(const std::string&) override {
    return io::FileStatus{.size_bytes = 1, .mode = mode, .regular = true};
  }
  io::OsResult<io::Fd> listen_tcp(const Endpoint&, const io::ListenOptions&) override {
    return no();
  }
  io::OsResult<io::Fd> connect_tcp(const Endpoint&) override { return no(); }
  io::OsResult<io::Fd> listen_unix(const std::string&) override { return no(); }
  io::OsResult<io::Fd> connect_unix(const std::string&) override { return no(); }
  io::OsResult<io::Fd> connect_unix_datagram(const std::string&) override { return no(); }
  io::OsResult<io::Fd> open_append(const std::string&) override { return no(); }

 private:
  static std::unexpected<io::OsError> no() { return std::unexpected(io::OsError{EACCES}); }
};

struct Loaded {
  std::shared_ptr<const Provider> provider;
  Diagnostics out;
};

Loaded load(const std::string& yaml, FakeFiles& files, std::vector<std::string> claims = {},
            const Provider* in_force = nullptr) {
  Loaded l;
  auto source = std::make_shared<Source>();
  source->path = "merlon.yaml";
  source->text = yaml;
  const auto tree = config::Tree::parse(source, {}, l.out);
  config::Reader reader(l.out, ".");
  const auto config = config::read(provider_schema(), tree->root(), reader);
  if (config.has_value())
    l.provider = Provider::load("p", *config, std::move(claims), files, l.out, in_force);
  return l;
}

constexpr const char* kIssuer =
    "{issuer: https://id.example/, audience: api, jwks_file: k.json, revocations: r.yaml}";

std::string payload(std::string_view rest = "") {
  return fmt::format(
      R"({{"iss":"https://id.example/","aud":"api","exp":2000000300,"iat":2000000000{}}})", rest);
}

/// What `merlon show --effective` says of an entry, by key.
std::map<std::string, std::string> effective_of(const ProviderConfig& config) {
  std::map<std::string, std::string> values;
  for (const config::EffectiveRow& row : config::effective(provider_schema(), config, nullptr))
    values[row.place] = row.value;
  return values;
}

// A value in the list of what is in force says that it does something.
TEST(ProviderEntry, ShowsNoValueOfAKeyThatMeansNothingForIt) {
  ProviderConfig entry;
  entry.issuer.emplace();
  auto shown = effective_of(entry);
  EXPECT_EQ(shown["leeway"], "10s");
  EXPECT_EQ(shown["algorithms"], "[RS256, ES256]");
  EXPECT_EQ(shown["max_lifetime"], "1d");
  EXPECT_EQ(shown["stale_for"], "1h");
  entry.jwks_file.emplace();
  shown = effective_of(entry);
  EXPECT_EQ(shown["stale_for"], "not set");
  EXPECT_EQ(shown["max_lifetime"], "1d");
  entry = {};
  entry.introspection.emplace();
  shown = effective_of(entry);
  EXPECT_EQ(shown["leeway"], "10s");
  EXPECT_EQ(shown["algorithms"], "not set");
  EXPECT_EQ(shown["max_lifetime"], "not set");
  EXPECT_EQ(shown["stale_for"], "not set");
  entry = {};
  entry.api_keys.emplace();
  EXPECT_EQ(effective_of(entry)["leeway"], "not set");
}

class ProviderTest : public ::testing::Test {
 protected:
  ProviderTest() {
    files.files["k.json"] = key.jwks();
    files.files["r.yaml"] = "revoked: []\n";
  }
  std::uint16_t refusal(const Provider& provider, const std::string& token, TokenTime now = kNow) {
    const auto got = provider.authenticate_token(token, thread, now);
    return got.has_value() ? std::uint16_t{0} : got.error().code;
  }
  FakeFiles files;
  SigningKey key{Algorithm::kEs256, "e1"};
  ThreadState thread{1};
};

TEST_F(ProviderTest, RemembersWhatItVerifiedAndJudgesTheRestAgain) {
  const Loaded l = load(kIssuer, files);
  ASSERT_NE(l.provider, nullptr) << l.out.render();
  const std::string token = key.token(payload(R"(,"sub":"u1","jti":"t1")"));
  EXPECT_EQ(refusal(*l.provider, token), 0);
  EXPECT_EQ(thread.tokens.size(), 1U);
  EXPECT_EQ(refusal(*l.provider, token), 0);
  EXPECT_EQ(refusal(*l.provider, token, kNow + 309), 0);
  EXPECT_EQ(refusal(*l.provider, token, kNow + 310), code::kTokenExpired);
  EXPECT_EQ(refusal(*l.provider, token + "A"), code::kTokenSignature);
}

// Whoever can spoil one file must not keep tokens alive that another one takes back.
TEST_F(ProviderTest, ABrokenFileHoldsBackNoOther) {
  const std::string token = key.token(payload(R"(,"sub":"u1")"));
  const Loaded before = load(kIssuer, files);
  ASSERT_NE(before.provider, nullptr);

  files.files["k.json"] = "{";
  files.files["r.yaml"] = "revoked: [{sub: u1}]\n";
  const Loaded revoked = load(kIssuer, files, {}, before.provider.get());
  ASSERT_NE(revoked.provider, nullptr) << revoked.out.render();
  EXPECT_EQ(revoked.out.error_count(), 1U);
  EXPECT_EQ(refusal(*revoked.provider, token), code::kTokenRevoked);
  EXPECT_EQ(refusal(*revoked.provider, key.token(payload(R"(,"sub":"u2")"))), 0) << "keys stay";

  files.files["k.json"] = SigningKey(Algorithm::kEs256, "e2").jwks();
  files.files.erase("r.yaml");
  const Loaded removed = load(kIssuer, files, {}, revoked.provider.get());
  ASSERT_NE(removed.provider, nullptr) << removed.out.render();
  EXPECT_EQ(refusal(*removed.provider, key.token(payload(R"(,"sub":"u2")"))),
            code::kTokenKeyUnknown);
}

TEST_F(ProviderTest, AFileThatIsBrokenSinceTheStartStaysClosed) {
  files.files["r.yaml"] = "revoked: [";
  const Loaded start = load(kIssuer, files);
  EXPECT_EQ(start.provider, nullptr);
  const Provider closed;
  EXPECT_EQ(load(kIssuer, files, {}, &closed).provider, nullptr);
}

TEST_F(ProviderTest, ARememberedTokenDoesNotOutliveItsKey) {
  const Loaded before = load(kIssuer, files);
  ASSERT_NE(before.provider, nullptr) << before.out.render();
  const std::string token = key.token(payload());
  ASSERT_EQ(refusal(*before.provider, token), 0);
  const SigningKey other(Algorithm::kEs256, "e1");
  files.files["k.json"] = other.jwks();
  const Loaded after = load(kIssuer, files);
  ASSERT_NE(after.provider, nullptr);
  EXPECT_EQ(refusal(*after.provider, token), code::kTokenSignature);
}

TEST_F(ProviderTest, ARememberedTokenIsJudgedByTheRulesInForce) {
  const Loaded before = load(kIssuer, files);
  ASSERT_NE(before.provider, nullptr) << before.out.render();
  const std::string token = key.token(payload());
  ASSERT_EQ(refusal(*before.provider, token), 0);
  const Loaded after =
      load("{issuer: https://id.example/, audience: other, jwks_file: k.json}", files);
  ASSERT_NE(after.provider, nullptr) << after.out.render();
  EXPECT_EQ(refusal(*after.provider, token), code::kTokenAudience);
}

TEST_F(ProviderTest, KeysThatComeWhileATokenIsJudgedAreNotMissed) {
  files.files["ca.pem"] = tls::test::Pki().root_pem();
  const Loaded l = load(
      "{issuer: https://id.example/, audience: api, jwks_uri: 'https://id.example/keys', "
      "tls: {ca: ca.pem}}",
      files);
  ASSERT_NE(l.provider, nullptr) << l.out.render();
  LiveKeys& live = *l.provider->key_source()->live;
  const std::string token = key.token(payload());
  const Instant now = Instant{} + seconds{100};
  const auto errand = [&](std::uint16_t code) {
    return l.provider->errand_after({.code = code}, token, thread, now);
  };
  // The first keys.
  EXPECT_EQ(refusal(*l.provider, token), code::kKeysUnavailable);
  live.attempted(false);
  EXPECT_EQ(errand(code::kKeysUnavailable), nullptr);
  live.publish(read_jwks(SigningKey(Algorithm::kEs256, "other").jwks())->keys);
  live.attempted(true);
  EXPECT_NE(errand(code::kKeysUnavailable), nullptr);
  // A key that is new.
  EXPECT_EQ(refusal(*l.provider, token), code::kTokenKeyUnknown);
  live.ask_not_before(now + seconds{5});
  EXPECT_EQ(errand(code::kTokenKeyUnknown), nullptr);
  live.publish(read_jwks(key.jwks())->keys);
  EXPECT_NE(errand(code::kTokenKeyUnknown), nullptr);
  EXPECT_EQ(refusal(*l.provider, token), 0);
}

TEST_F(ProviderTest, RevocationsHoldForRememberedTokensToo) {
  const std::string by_id = key.token(payload(R"(,"sub":"u1","jti":"t1")"));
  const std::string by_subject = key.token(payload(R"(,"sub":"mallory","jti":"t2")"));
  const std::string by_time = key.token(payload(R"(,"sub":"bob","jti":"t3")"));
  const std::string other = key.token(payload(R"(,"sub":"alice","jti":"t4")"));
  const Loaded before = load(kIssuer, files);
  ASSERT_NE(before.provider, nullptr) << before.out.render();
  for (const auto* token : {&by_id, &by_subject, &by_time, &other}) {
    ASSERT_EQ(refusal(*before.provider, *token), 0);
  }
  files.files["r.yaml"] =
      "revoked:\n  - jti: t1\n  - sub: mallory\n  - {sub: bob, issued_before: 2033-05-19}\n"
      "  - {sub: alice, issued_before: 2033-05-18T03:33:20Z}\n";
  const Loaded after = load(kIssuer, files);
  ASSERT_NE(after.provider, nullptr) << after.out.render();
  EXPECT_EQ(refusal(*after.provider, by_id), code::kTokenRevoked);
  EXPECT_EQ(refusal(*after.provider, by_subject), code::kTokenRevoked);
  EXPECT_EQ(refusal(*after.provider, by_time), code::kTokenRevoked);
  EXPECT_EQ(refusal(*after.provider, other), 0) << "issued at that very moment";
  files.files["r.yaml"] = "revoked: [{issued_before: 2033-05-18T03:33:21Z}]\n";
  const Loaded everybody = load(kIssuer, files);
  EXPECT_EQ(refusal(*everybody.provider, other), code::kTokenRevoked);
}

TEST_F(ProviderTest, RefusesConfigurationsThatProveNothing) {
  files.files["oct.json"] = R"({"keys":[{"kty":"oct","k":"AAAA"}]})";
  for (const char* yaml : {
           "{}",
           "{issuer: https://id.example/, jwks_file: k.json}",
           "{issuer: https://id.example/, audience: [], jwks_file: k.json}",
           "{issuer: https://id.example/, audience: api}",
           "{issuer: http://id.example/, audience: api, jwks_file: k.json}",
           "{issuer: 'https://id.example/?a', audience: api, jwks_file: k.json}",
           "{issuer: 'https://u@id.example/', audience: api, jwks_file: k.json}",
           "{issuer: https://id.example/, audience: api, jwks_file: missing.json}",
           "{issuer: https://id.example/, audience: api, jwks_file: oct.json}",
           "{issuer: https://id.example/, audience: api, jwks_file: k.json, algorithms: [none]}",
           "{issuer: https://id.example/, audience: api, jwks_file: k.json, algorithms: [HS256]}",
           "{issuer: https://id.example/, audience: api, jwks_file: k.json, algorithms: []}",
           "{issuer: https://id.example/, audience: api, jwks_file: k.json, algorithms: [RS256]}",
           "{issuer: https://id.example/, audience: api, jwks_file: k.json, leeway: 61s}",
           "{issuer: https://id.example/, audience: api, jwks_file: k.json, max_lifetime: 25h}",
           "{issuer: https://id.example/, audience: api, jwks_file: k.json, leeway: 500ms}",
           "{issuer: https://id.example/, audience: api, jwks_file: k.json, max_lifetime: 10500ms}",
           "{issuer: https://id.example/, audience: api, stale_for: 1500ms}",
           "{issuer: https://id.example/, audience: [a, a], jwks_file: k.json}",
           "{audience: api, api_keys: {file: keys.yaml}}",
           "{api_keys: {file: missing.yaml}}",
       }) {
    const Loaded l = load(yaml, files);
    EXPECT_EQ(l.provider, nullptr) << yaml;
    EXPECT_FALSE(l.out.ok()) << yaml;
  }
}

TEST_F(ProviderTest, RefusesRevocationListsThatSayNothing) {
  for (const char* text :
       {"", "revoked: [{}]", "revoked: [{jti: a, sub: b}]", "revoked: [{sub: ''}]",
        "revoked: [{issued_before: tomorrow}]", "other: []"}) {
    files.files["r.yaml"] = text;
    EXPECT_EQ(load(kIssuer, files).provider, nullptr) << text;
  }
}

// ---- API keys ----

TEST(ApiKey, IsKnownByItsHash) {
  FakeFiles files;
  const auto made = make_api_key();
  ASSERT_TRUE(made.has_value());
  const auto late = make_api_key();
  files.files["keys.yaml"] = fmt::format(
      "keys:\n- {{id: {}, owner: billing, hash: '{}', scopes: [a, b], networks: [10.0.0.0/8]}}\n"
      "- {{id: {}, owner: late, hash: '{}', expires: 2030-01-01}}\n",
      made->id, made->hash, late->id, late->hash);
  const Loaded l = load("{api_keys: {file: keys.yaml}}", files);
  ASSERT_NE(l.provider, nullptr) << l.out.render();
  EXPECT_EQ(l.provider->header(), "X-Api-Key");
  ThreadState thread(1);
  const IpAddress inside = *IpAddress::parse("10.1.2.3");
  const IpAddress outside = *IpAddress::parse("192.0.2.1");
  const auto code_of = [&](std::string_view key, const IpAddress& from) {
    const auto got = l.provider->authenticate_key(key, from, thread, kNow);
    return got.has_value() ? std::uint16_t{0} : got.error().code;
  };
  const std::string key(made->key.reveal());
  const auto who = l.provider->authenticate_key(key, inside, thread, kNow);
  ASSERT_TRUE(who.has_value());
  EXPECT_EQ((*who)->subject(), "billing");
  EXPECT_EQ((*who)->client_id(), made->id);
  EXPECT_TRUE((*who)->has_scope("b"));
  EXPECT_EQ(code_of(key, outside), code::kApiKeyNetwork);
  EXPECT_EQ(code_of(late->key.reveal(), inside), code::kApiKeyExpired);
  EXPECT_EQ(code_of("", inside), code::kApiKeyUnknown);
  EXPECT_EQ(code_of("mk_", inside), code::kApiKeyUnknown);
  EXPECT_EQ(code_of(make_api_key()->key.reveal(), inside), code::kApiKeyUnknown);
  for (std::size_t i = 0; i < key.size(); ++i) {
    std::string changed = key;
    changed[i] = changed[i] == 'a' ? 'b' : 'a';
    EXPECT_EQ(code_of(changed, inside), code::kApiKeyUnknown) << i;
    EXPECT_EQ(code_of(key.substr(0, i), inside), code::kApiKeyUnknown) << i;
  }
}

TEST(ApiKey, AKeyInPlaceOfItsHashIsNotShown) {
  FakeFiles files;
  const auto made = make_api_key();
  const std::string key(made->key.reveal());
  files.files["keys.yaml"] =
      fmt::format("keys:\n- {{id: {}, owner: x, hash: {}}}\n", made->id, key);
  const Loaded l = load("{api_keys: {file: keys.yaml}}", files);
  EXPECT_EQ(l.provider, nullptr);
  EXPECT_FALSE(l.out.render().contains(key)) << l.out.render();
  EXPECT_TRUE(l.out.render().contains("keys.yaml:2"));
}

TEST(ApiKey, TheFileIsForItsOwner) {
  FakeFiles files;
  files.files["keys.yaml"] = "keys: []\n";
  files.mode = 0644;
  const Loaded open = load("{api_keys: {file: keys.yaml}}", files);
  EXPECT_EQ(open.provider, nullptr);
  ASSERT_EQ(open.out.error_count(), 1U);
  EXPECT_EQ(open.out.all().front().rule, "key-permissions");
  files.mode = 0640;
  EXPECT_NE(load("{api_keys: {file: keys.yaml}}", files).provider, nullptr);
  EXPECT_EQ(load("{api_keys: {file: keys.yaml, header: Cookie}}", files).provider, nullptr);
  EXPECT_EQ(load("{api_keys: {file: keys.yaml, header: X-Forwarded-For}}", files).provider,
            nullptr);
}

TEST(Date, IsADayOrAMoment) {
  EXPECT_EQ(parse_date("1970-01-02"), 86'400);
  EXPECT_EQ(parse_date("2033-05-18T03:33:20Z"), 2'000'000'000);
  EXPECT_EQ(format_date(2'000'000'000), "2033-05-18T03:33:20Z");
  for (const char* bad : {"", "2033-02-30", "2033-05-18T03:33:20", "2033-05-18T24:00:00Z",
                          "2033-05-18 03:33:20Z", "2033-05-18T3:33:20Z", "33-05-18"}) {
    EXPECT_FALSE(parse_date(bad).has_value()) << bad;
  }
}

}  // namespace
}  // namespace merlon::identity
