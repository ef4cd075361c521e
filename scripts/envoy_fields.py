#!/usr/bin/python3
"""Writes the table of Envoy's messages and fields that the auditor checks names and values against.

The table holds names and kinds only. It is made from the .proto files of the Envoy API, which the npm package
@grpc/grpc-js-xds carries:

    npm pack @grpc/grpc-js-xds && tar xzf grpc-grpc-js-xds-*.tgz
    scripts/envoy_fields.py package/deps/envoy-api package/deps/xds > src/audit/envoy/fields.tsv

One line a message: its full name, a tab, then its fields, separated by blanks. A field is its name when
it holds text, or name=KIND: "bool", "int", "uint", "float", "duration", the number of a line (from 0) for
the message of that line, "any" for a google.protobuf.Any, and "*" for what has no fixed fields (Struct,
Value). The kind of a map's values follows "map:". Enums are lines too, with "enum" before their names; a
name=NUMBER is not the one after the number before it.
"""
import pathlib
import re
import sys

TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|[A-Za-z_][\w.]*|\.[A-Za-z_][\w.]*|-?\d[\w.]*|[{}\[\]();=<>,:-]')
COMMENT = re.compile(r'//[^\n]*|/\*.*?\*/', re.S)
SCALARS = {'double': 'float', 'float': 'float', 'int32': 'int', 'int64': 'int', 'uint32': 'uint', 'uint64': 'uint',
           'sint32': 'int', 'sint64': 'int', 'fixed32': 'uint', 'fixed64': 'uint', 'sfixed32': 'int',
           'sfixed64': 'int', 'bool': 'bool', 'string': '', 'bytes': ''}
WELL_KNOWN = {'DoubleValue': 'float', 'FloatValue': 'float', 'Int64Value': 'int', 'UInt64Value': 'uint',
              'Int32Value': 'int', 'UInt32Value': 'uint', 'BoolValue': 'bool', 'StringValue': '',
              'BytesValue': '', 'Duration': 'duration', 'Any': 'any'}


class Parser:
    """Collects messages (name -> [(field, type, is_map)]) and enums (name -> [(value, number)])."""

    def __init__(self):
        self.messages, self.enums = {}, {}

    def read(self, text):
        self.tokens, self.at, self.package = TOKEN.findall(COMMENT.sub(' ', text)), 0, ''
        while self.at < len(self.tokens):
            word = self.next()
            if word == 'package':
                self.package = self.next()
            elif word == 'message':
                self.message(self.package)
            elif word == 'enum':
                self.enum(self.package)
            elif word in ('service', 'extend'):
                self.skip_block()
            if word in ('syntax', 'import', 'option', 'package'):
                self.skip_statement()

    def next(self):
        self.at += 1
        return self.tokens[self.at - 1]

    def skip_statement(self):
        depth = 0
        while self.at < len(self.tokens):
            word = self.next()
            depth += (word == '{') - (word == '}')
            if word == ';' and depth == 0:
                return

    def skip_block(self):
        depth = 0
        while self.at < len(self.tokens):
            word = self.next()
            depth += (word == '{') - (word == '}')
            if word == '}' and depth == 0:
                return

    def enum(self, scope):
        name = f'{scope}.{self.next()}'
        self.next()
        values = self.enums.setdefault(name, [])
        while (word := self.next()) != '}':
            if word in ('option', 'reserved'):
                self.skip_statement()
            elif word != ';':
                self.next()
                values.append((word, int(self.next(), 0)))
                self.skip_statement()

    def message(self, scope):
        name = f'{scope}.{self.next()}'
        self.next()
        self.messages.setdefault(name, [])
        self.body(name)

    def body(self, name):
        while (word := self.next()) != '}':
            if word == 'message':
                self.message(name)
            elif word == 'enum':
                self.enum(name)
            elif word == 'oneof':
                self.next(), self.next()
                self.body(name)
            elif word in ('option', 'reserved', 'extensions'):
                self.skip_statement()
            elif word != ';':
                self.field(name, word)

    def field(self, message, word):
        if word in ('repeated', 'optional', 'required'):
            word = self.next()
        is_map = word == 'map'
        if is_map:
            self.next(), self.next(), self.next()
            word = self.next()
            self.next()
        name = self.next()
        if all(name != known for known, *_ in self.messages[message]):
            self.messages[message].append((name, word, message, is_map))
        self.skip_statement()


# What Envoy has added since the package was made.
LATER = ['''
package envoy.extensions.filters.http.api_key_auth.v3;
message ApiKeyAuth {
  repeated Credential credentials = 1; repeated KeySource key_sources = 2; Forwarding forwarding = 3;
}
message ApiKeyAuthPerRoute {
  repeated Credential credentials = 1; repeated KeySource key_sources = 2;
  repeated string allowed_clients = 3; Forwarding forwarding = 4;
}
message Credential { string key = 1; string client = 2; }
message KeySource { string header = 1; string query = 2; string cookie = 3; }
message Forwarding { string client_id_header = 1; bool hide_credentials = 2; }
''', '''
package envoy.extensions.filters.http.basic_auth.v3;
message BasicAuth { string authentication_header = 3; }
''', '''
package envoy.extensions.filters.http.oauth2.v3;
message CookieConfig {
  enum SameSite { DISABLED = 0; STRICT = 1; LAX = 2; NONE = 3; }
  SameSite same_site = 1;
}
message OAuth2Config {
  bool disable_access_token_set_cookie = 18; bool disable_refresh_token_set_cookie = 19;
  google.protobuf.Duration csrf_token_expires_in = 24;
  google.protobuf.Duration code_verifier_token_expires_in = 25;
  string end_session_endpoint = 23; config.core.v3.RetryPolicy retry_policy = 21;
  google.protobuf.Struct cookie_configs = 22; string stat_prefix = 20;
}
message OAuth2Credentials {
  string cookie_domain = 5;
  message CookieNames { string oauth_nonce = 6; string code_verifier = 7; }
}
''', '''
package envoy.extensions.transport_sockets.tls.v3;
message UpstreamTlsContext { bool auto_host_sni = 6; bool auto_sni_san_validation = 7; }
''', '''
package envoy.extensions.wasm.v3;
enum FailurePolicy { UNSPECIFIED = 0; FAIL_RELOAD = 1; FAIL_CLOSED = 2; FAIL_OPEN = 3; }
message PluginConfig { FailurePolicy failure_policy = 7; google.protobuf.Struct reload_config = 8; }
''', '''
package envoy.type.http.v3;
message Cookie { google.protobuf.Struct attributes = 4; }
''']


def resolve(name, scope, known):
    if name in SCALARS:
        return name
    if name.startswith('.'):
        return name[1:]
    while scope:
        if f'{scope}.{name}' in known:
            return f'{scope}.{name}'
        scope = scope.rpartition('.')[0]
    return name


def kind_of(target, number):
    if target in SCALARS:
        return SCALARS[target]
    if target in number:
        return str(number[target])
    package, _, name = target.rpartition('.')
    return WELL_KNOWN.get(name, '*') if package == 'google.protobuf' else '*'


def enum_line(values):
    words, expected = [], 0
    for name, number in values:
        words.append(name if number == expected else f'{name}={number}')
        expected = number + 1
    return 'enum ' + ' '.join(words)


def main():
    parser = Parser()
    for root in sys.argv[1:]:
        for path in sorted(pathlib.Path(root).rglob('*.proto')):
            parser.read(path.read_text())
    for text in LATER:
        parser.read(text)
    # v2 left Envoy with 1.18; its types are reported as such.
    old = re.compile(r'\.v2(alpha\d*)?(\.|$)|^envoy\.(type|service)\.(?!(.*\.)?v3)')
    # What Envoy says of itself, and the calls between servers, are no configuration.
    calls = re.compile(r'^envoy\.(admin|data|watchdog)\.|^envoy\.service\.(?!discovery|runtime)')
    names = sorted(n for n in (*parser.messages, *parser.enums)
                   if n.startswith(('envoy.', 'xds.')) and not old.search(n) and not calls.search(n))
    number = {name: i for i, name in enumerate(names)}
    for name in names:
        if name in parser.enums:
            print(f'{name}\t{enum_line(parser.enums[name])}')
            continue
        fields = []
        for field, kind, scope, is_map in parser.messages[name]:
            shown = ('map:' if is_map else '') + kind_of(resolve(kind, scope, number), number)
            fields.append(field + (f'={shown}' if shown else ''))
        print(f'{name}\t{" ".join(fields)}')


main()
