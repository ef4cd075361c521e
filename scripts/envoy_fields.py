#!/usr/bin/python3
"""Writes the table of Envoy's messages and fields that the auditor checks names against.

The table holds names only. It is made from the .proto files of the Envoy API, which the npm package
@grpc/grpc-js-xds carries:

    npm pack @grpc/grpc-js-xds && tar xzf grpc-grpc-js-xds-*.tgz
    scripts/envoy_fields.py package/deps/envoy-api package/deps/xds > src/audit/envoy/fields.tsv

One line a message: its full name, a tab, then its fields, separated by blanks. A field is its name,
or name=MESSAGE when it holds a message, where MESSAGE is the number of that line (from 0), "any" for a
google.protobuf.Any, and "*" for what has no fixed fields (Struct, Value). A map's values follow
"name=map:". Enums are lines too, with "enum" before their names.
"""
import pathlib
import re
import sys

TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|[A-Za-z_][\w.]*|\.[A-Za-z_][\w.]*|-?\d[\w.]*|[{}\[\]();=<>,:-]')
COMMENT = re.compile(r'//[^\n]*|/\*.*?\*/', re.S)
SCALARS = {'double', 'float', 'int32', 'int64', 'uint32', 'uint64', 'sint32', 'sint64', 'fixed32',
           'fixed64', 'sfixed32', 'sfixed64', 'bool', 'string', 'bytes'}


class Parser:
    """Collects messages (name -> [(field, type, is_map)]) and enums (name -> [value])."""

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
            if word != ';':
                self.skip_statement() if word in ('syntax', 'import', 'option', 'package') else None

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
                values.append(word)
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
        self.messages[message].append((self.next(), word, message, is_map))
        self.skip_statement()


# Messages and fields that Envoy has added since the package was made.
LATER_PROTO = '''
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
'''
LATER = {
    'envoy.extensions.filters.http.basic_auth.v3.BasicAuth': ['authentication_header'],
    'envoy.extensions.filters.http.oauth2.v3.OAuth2Config': [
        'disable_access_token_set_cookie', 'disable_refresh_token_set_cookie', 'csrf_token_expires_in',
        'code_verifier_token_expires_in', 'end_session_endpoint', 'retry_policy=*', 'cookie_configs=*', 'stat_prefix'],
    'envoy.extensions.filters.http.oauth2.v3.OAuth2Credentials': ['cookie_domain'],
    'envoy.extensions.filters.http.oauth2.v3.OAuth2Credentials.CookieNames': ['oauth_nonce', 'code_verifier'],
    'envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext': ['auto_host_sni', 'auto_sni_san_validation'],
    'envoy.type.http.v3.Cookie': ['attributes=*'],
}


def resolve(name, scope, known):
    if name in SCALARS:
        return None
    if name.startswith('.'):
        return name[1:]
    while scope:
        if f'{scope}.{name}' in known:
            return f'{scope}.{name}'
        scope = scope.rpartition('.')[0]
    return name


def main():
    parser = Parser()
    for root in sys.argv[1:]:
        for path in sorted(pathlib.Path(root).rglob('*.proto')):
            parser.read(path.read_text())
    parser.read(LATER_PROTO)
    # v2 left Envoy with 1.18; its types are reported as such.
    old = re.compile(r'\.v2(alpha\d*)?(\.|$)|^envoy\.(type|service)\.(?!.*\.v3)')
    # What Envoy says of itself, and the calls between servers, are no configuration.
    calls = re.compile(r'^envoy\.(admin|data|watchdog)\.|^envoy\.service\.(?!discovery|runtime)')
    names = sorted(n for n in (*parser.messages, *parser.enums)
                   if n.startswith(('envoy.', 'xds.')) and not old.search(n) and not calls.search(n))
    number = {name: i for i, name in enumerate(names)}
    for name in names:
        if name in parser.enums:
            print(f'{name}\tenum {" ".join(parser.enums[name])}')
            continue
        fields = []
        for field, kind, scope, is_map in parser.messages[name]:
            target = resolve(kind, scope, number)
            if target == 'google.protobuf.Any':
                shown = 'any'
            elif target in ('google.protobuf.Struct', 'google.protobuf.Value', 'google.protobuf.ListValue'):
                shown = '*'
            elif target in number:
                shown = str(number[target])
            elif target is None or target.startswith('google.'):
                shown = ''
            else:
                shown = '*'
            prefix = 'map:' if is_map else ''
            fields.append(field + (f'={prefix}{shown}' if shown or is_map else ''))
        fields += [f for f in LATER.get(name, []) if f.partition('=')[0] not in {x.partition('=')[0] for x in fields}]
        print(f'{name}\t{" ".join(fields)}')


main()
