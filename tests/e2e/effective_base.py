"""A configuration with every section, for test_effective: what else each key may be, and which tests watch
what neither the posture nor `explain` tells of."""

from datetime import date, timedelta

from pki import Pki
from test_mtls import Authority
from tokens import Key, jwks

PASSED = "pages with their own policy"


def files(folder, pki):
    """What the configuration names."""
    (folder / "other-authority").mkdir()
    Authority(folder)
    keys = f'keys:\n  - {{ id: a1b2c3d4e5f6, owner: x, hash: "sha256:{"a" * 64}" }}\n'
    texts = {"secret": "s3cret\n", "other-secret": "an0ther\n", "keys.yaml": keys,
             "other-keys.yaml": keys.replace("owner: x", "owner: y"),
             "jwks.json": jwks(Key(folder, "k1")), "other-jwks.json": jwks(Key(folder, "k2")),
             "revoked.json": "{}", "other-revoked.json": '{"jti": ["a"]}',
             "schema.json": "{}", "other-schema.json": '{"type": "object"}',
             "included.json": '{"timeouts": {"idle": "7s"}}'}  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)


def waiver(rule, on):
    return {"rule": rule, "on": on, "reason": PASSED, "owner": "a@b.example",
            "expires": str(date.today() + timedelta(days=100))}  # fmt: skip


def certificate(pki):
    """Always the same: another one would be a change."""
    made = pki.folder / "a.example.pem"
    return (str(made), str(made.with_suffix(".key"))) if made.exists() else pki.issue("a.example")


def base(folder, pki):
    at = lambda name: str(folder / name)  # noqa: E731
    cert, key = certificate(pki)
    route = {"match": {"host": "a.example"}, "methods": ["GET", "POST"]}
    return {
        "version": 1,
        "listeners": [
            {"name": "public", "address": "127.0.0.1:8443", "redirect_from": 8079,
             "tls": {"certificates": [{"cert": cert, "key": key}],
                     "client_auth": {"ca": at("clients/ca.pem"), "required": False}}},
            {"name": "inner", "address": "127.0.0.1:8081"},
            {"name": "byname", "address": "127.0.0.1:8444",
             "tls": {"certificates": [{"cert": cert, "key": key, "client_auth": {"ca": at("clients/ca.pem")}}]}},
        ],
        "trusted_proxies": ["192.0.2.0/24"],
        "limits": {}, "timeouts": {}, "admin": {}, "log": {},
        "identity": {
            "staff": {"issuer": "https://id.example.com/", "audience": "orders", "jwks_file": at("jwks.json"),
                      "dpop": {"required": True, "nonce": True}},
            "net": {"issuer": "https://id.example.org/", "audience": "orders",
                    "jwks_uri": "https://id.example.org/jwks", "tls": {"ca": str(pki.ca)}},
            "found": {"issuer": "https://id.example.com.au/", "audience": "orders"},
            "opaque": {"introspection": {"url": "https://id.example.net/i", "client_id": "gateway",
                                         "client_secret_file": at("secret")}},
            "opaque2": {"introspection": {"url": "https://id.example.net/2", "client_id": "gateway",
                                          "client_secret_file": at("secret")}},
            "machines": {"api_keys": {"file": at("keys.yaml")}},
            "machines2": {"api_keys": {"file": at("keys.yaml")}},
        },
        "upstreams": {
            "api": {"endpoints": [{"address": "127.0.0.1:9000"}, {"address": "127.0.0.1:9002"}], "limits": {}, "timeouts": {},
                    "tls": {"ca": str(pki.ca), "cert": cert, "key": key, "server_name": "a.example"},
                    "health": {"path": "/healthz"}},
            "rpc": {"endpoints": ["127.0.0.1:9001"], "protocol": "h2", "health": {"grpc": True, "service": "a"}},
            "plain": {"endpoints": ["127.0.0.1:9003"]},
        },
        "routes": [
            {**route, "name": "r", "match": {"host": "a.example", "path": "/v1/**"},
             "auth": {"jwt": "staff", "scopes": ["read"], "claims": {"tenant": "t1"}},
             "upstream": "api", "body": {}, "headers": {"set": {"x-a": "1"}}, "forward": {},
             "cors": {"origins": ["https://app.example.com"]},
             "rate_limit": {"rate": "10/s", "shared": True,
                            "classes": [{"name": "partners", "networks": ["198.51.100.0/24"], "rate": "20/s"}]},
             "quota": {"limit": "100/day", "per": "identity"},
             "concurrency": {"limit": 5}, "rewrite": {"add_prefix": "/x"}},
            {**route, "name": "open", "match": {"host": "a.example", "path": "/open/**"}, "auth": "none",
             "upstream": "api", "rate_limit": {"rate": "10/s", "burst": 5}, "body": {"content_types": ["application/json"]}},
            # Of each kind there are more than one route needs, so that one may ask for another.
            *({**route, "name": name, "match": {"host": "a.example", "path": f"/{name}"}, "auth": {kind: provider},
               "upstream": "plain",
               "rate_limit": {"rate": "10/s", "per": "identity",
                              "classes": [{"name": "n", "identities": ["svc"], "rate": "20/s"}]}}
              for name, kind, provider in (
                  ("net", "jwt", "net"), ("net2", "jwt", "net"), ("found", "jwt", "found"),
                  ("asked", "introspect", "opaque"), ("asked2", "introspect", "opaque2"),
                  ("asked3", "introspect", "opaque2"), ("keys", "api_key", "machines"),
                  ("keys2", "api_key", "machines2"), ("keys3", "api_key", "machines2"))),
            {**route, "name": "certs", "match": {"host": "a.example", "path": "/certs"},
             "auth": {"client_cert": {"san": ["spiffe://a/b"]}}, "upstream": "rpc", "forward": {}},
            {**route, "name": "talk", "match": {"host": "a.example", "path": "/talk"}, "methods": ["GET"],
             "auth": "none", "upstream": "api", "websocket": {"idle_timeout": "1min"}},
            {**route, "name": "fixed", "match": {"host": "a.example", "path": "/fixed"}, "methods": ["GET"],
             "auth": "none", "respond": {"status": 200, "body": "here"}},
        ],
        "shared_state": {"redis": {"address": "127.0.0.1:6379", "tls": {"ca": str(pki.ca), "server_name": "r.example"},
                                   "username": "merlon", "password_file": at("secret")}, "nodes": 2},
        "waivers": [waiver("csp-html", "routes.r")],
    }  # fmt: skip


def bases(folder, pki):
    """The configuration, and what it looks like where Redis is more than a server."""
    whole = base(folder, pki)
    for where in ({"sentinels": ["127.0.0.1:6379"], "master": "limits"}, {"cluster": ["127.0.0.1:6379"]}):
        redis = {key: value for key, value in whole["shared_state"]["redis"].items() if key != "address"}
        yield {**whole, "shared_state": {**whole["shared_state"], "redis": {**redis, **where}}}
    yield whole


def requests():
    """Made-up ones that meet what `explain` can tell of."""
    def one(listener, head, client="127.0.0.1", body=""):
        return {"listener": listener, "client": client, "head": head + "\r\n", "body": body}

    out = []
    for path in ("/v1/a", "/open/a", "/net", "/asked", "/keys", "/certs", "/fixed", "/elsewhere"):
        for listener in ("public", "inner"):
            out.append(one(listener, f"GET {path} HTTP/1.1\r\nHost: a.example\r\n"))
    for origin in ("https://app.example.com", "https://other.example.com"):
        for more in ("GET", "POST", "GET\r\nAccess-Control-Request-Headers: x-trace"):
            out.append(one("inner", f"OPTIONS /v1/a HTTP/1.1\r\nHost: a.example\r\nOrigin: {origin}\r\n"
                                    f"Access-Control-Request-Method: {more}\r\n"))  # fmt: skip
    for kind in ("application/json", "text/plain"):
        for body in ("[[1]]", "[" * 20 + "]" * 20):
            out.append(one("inner", f"POST /open/a HTTP/1.1\r\nHost: a.example\r\nContent-Type: {kind}\r\n"
                                    f"Content-Length: {len(body)}\r\n", body=body))  # fmt: skip
    out.append(one("inner", "GET /open/a HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 203.0.113.9\r\n", "192.0.2.9"))
    out.append(one("inner", "GET /open/a HTTP/1.1\r\nHost: a.example\r\n", "198.51.100.7"))
    out.append(one("inner", "GET /talk HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
                            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"))  # fmt: skip
    return out


def alternatives(folder, pki):
    """Values that the gateway can take where what the schema gives as examples is none of this place."""
    at = lambda name: str(folder / name)  # noqa: E731
    certificate = dict(zip(("cert", "key"), pki.issue("a.example", file="second"), strict=True))
    other = Pki(folder / "other-authority")
    end = str(date.today() + timedelta(days=50))
    return {
        ("", "include"): [["included.json"]],
        ("", "listeners"): [base(folder, pki)["listeners"][:2]],
        ("", "trusted_proxies"): [["203.0.113.0/24"]],
        ("", "limits"): [{"connections": 99}], ("", "timeouts"): [{"idle": "5s"}],
        ("", "admin"): [{"address": "127.0.0.1:8099"}], ("", "log"): [{"level": "debug"}],
        ("", "routes"): [base(folder, pki)["routes"] + [
            {"name": "more", "match": {"host": "a.example", "path": "/more"}, "methods": ["GET"], "auth": "none",
             "respond": {"status": 204}}]],
        ("", "waivers"): [base(folder, pki)["waivers"] + [waiver("path-semicolon", "routes.open")]],
        ("listener", "allow_from"): [["198.51.100.0/24"]], ("listener", "address"): ["127.0.0.1:8555"],
        ("listener-tls", "certificates"): [[certificate]],
        ("client-auth", "ca"): [str(other.ca)],
        ("listener-certificate", "client_auth"): [{"ca": str(other.ca)}],
        ("admin", "address"): ["127.0.0.1:8099"],
        ("auth", "jwt"): ["staff"], ("auth", "introspect"): ["opaque"], ("auth", "api_key"): ["machines"],
        ("body", "content_types"): [["text/plain"]],
        ("cors", "headers"): [["x-trace"]], ("cors", "methods"): [["GET"]], ("cors", "expose"): [["x-b"]],
        ("health", "path"): ["/other"], ("health", "service"): ["b"], ("health", "timeout"): ["300ms"],
        ("identity", "resource"): ["https://a.example/"],
        ("limit-class", "identities"): [["another"]],
        ("respond", "content_type"): ["text/csv"], ("rewrite", "strip_prefix"): ["/v1"],
        ("route", "upstream"): ["rpc"], ("route", "methods"): [["GET"]],
        ("waiver", "rule"): ["path-semicolon"], ("waiver", "on"): ["routes.open"],
        ("redis", "tls"): [{"ca": str(other.ca), "server_name": "r.example"}],
        ("redis", "cluster"): [["127.0.0.1:7777"]], ("redis", "sentinels"): [["127.0.0.1:7777"]],
        ("redis", "master"): ["others"],
        ("client-auth", "crl"): [at("clients/crl.pem")],
        ("endpoint", "address"): ["127.0.0.1:9009"], ("endpoint", "weight"): [3],
        ("identity", "audience"): ["others"], ("identity", "hosts"): [["keys.example.org"]],
        ("identity", "max_lifetime"): ["2h"],
        ("identity", "jwks_file"): [at("other-jwks.json")], ("identity", "revocations"): [at("other-revoked.json")],
        ("api-keys", "file"): [at("other-keys.yaml")], ("api-keys", "header"): ["X-Other"],
        ("identity-tls", "ca"): [str(other.ca)], ("upstream-tls", "ca"): [str(other.ca)],
        ("introspection", "client_id"): ["another"], ("upstream-timeouts", "response"): ["9s"],
        ("introspection", "client_secret_file"): [at("other-secret")],
        ("redis", "password_file"): [at("other-secret")], ("redis", "username"): ["another"],
        ("auth", "scopes"): [["write"]], ("auth", "claims"): [{"tenant": "t9"}],
        ("client-cert", "san"): [["spiffe://a/c"]], ("client-cert", "issuer"): [["CN=Partners"]],
        ("headers", "set"): [{"x-a": "2"}], ("headers", "remove"): [["x-b"]],
        ("forward", "identity"): [["sub"]],
        ("respond", "body"): ["other"],
        ("match", "host"): ["b.example"], ("match", "path"): ["/v2/**"],
        ("limit-class", "networks"): [["203.0.113.0/24"]], ("limit-class", "rate"): ["30/s"],
        ("rate-limit", "rate"): ["11/s"],
        ("quota", "limit"): ["200/day"], ("cors", "origins"): [["https://other.example.com"]],
        ("body", "schema"): [at("other-schema.json")],
        ("waiver", "reason"): ["another reason, as good"], ("waiver", "owner"): ["c@d.example"],
        ("waiver", "expires"): [end],
    }  # fmt: skip


# Keys that cannot be anything else here: the path and a value that is refused with its place.
SETTLED = {
    ("", "version"): (("version",), 2),
    ("health", "grpc"): (("upstreams", "rpc", "health", "grpc"), False),
    ("quota", "per"): (("routes", 0, "quota", "per"), "client"),
}

# Where neither the posture nor `explain` tells of a key: a test that watches it in a running gateway.
WATCHED = {
    ("", "include"): "test_keys_at_work.py::test_include_of_other_files",
    ("", "timeouts"): "test_slow_clients.py::test_a85_idle_and_half_open_handshakes_are_cut_off",
    ("", "limits"): "test_exhaustion.py::test_a95_too_many_connections_are_shed_and_come_back",
    ("", "log"): "test_keys_at_work.py::test_process_and_level_of_the_log",
    ("", "admin"): "test_exhaustion.py::test_memory_is_bounded_and_told",
    ("listener", "proxy_protocol"): "test_attacks_fields.py::test_a45_a_proxy_header_from_a_trusted_peer_is_believed",
    ("listener-tls", "min_version"): "test_keys_at_work.py::test_min_version_of_a_listener",
    ("client-auth", "ca"): "test_mtls.py::test_an_optional_certificate_is_asked_for_by_the_route",
    ("listener-certificate", "client_auth"): "test_mtls_by_name.py::test_each_name_asks_for_its_own",
    ("client-auth", "crl"): "test_mtls.py::test_a_revoked_certificate_is_refused",
    ("client-auth", "required"): "test_mtls.py::test_an_optional_certificate_is_asked_for_by_the_route",
    ("limits", "workers"): "test_health_checks.py::test_the_number_of_workers_does_not_multiply_checks",
    ("limits", "connections"): "test_exhaustion.py::test_a95_too_many_connections_are_shed_and_come_back",
    ("limits", "connections_per_client"): "test_exhaustion.py::test_a95_one_client_cannot_take_all_connections",
    ("limits", "requests_in_flight"): "test_exhaustion.py::test_too_many_requests_at_once_are_shed_and_come_back",
    ("limits", "memory"): "test_exhaustion.py::test_memory_is_bounded_and_told",
    ("timeouts", "handshake"): "test_slow_clients.py::test_a85_idle_and_half_open_handshakes_are_cut_off",
    ("timeouts", "head"): "test_http1.py::test_a_slow_head_is_refused",
    ("timeouts", "idle"): "test_exhaustion.py::test_the_admin_address_answers_beyond_all_bounds_and_follows_a_reload",
    ("timeouts", "drain"): "test_lifecycle.py::test_the_drain_deadline_ends_what_does_not_end",
    ("identity", "jwks_file"): "test_identity.py::test_a_key_set_that_is_missing_at_the_start_closes_its_routes_only",
    ("identity", "jwks_uri"): "test_issuer_keys.py::test_a_named_jwks_uri_needs_no_metadata",
    ("identity", "hosts"): "test_issuer_keys.py::test_a_listed_host_may_have_the_keys",
    ("identity", "stale_for"): "test_issuer_keys.py::test_stale_keys_serve_for_a_while_and_then_the_routes_close",
    ("identity", "algorithms"): "test_keys_at_work.py::test_algorithms_of_an_issuer",
    ("identity", "leeway"): "test_keys_at_work.py::test_leeway_of_an_issuer",
    ("identity", "max_lifetime"): "test_keys_at_work.py::test_max_lifetime_of_an_issuer",
    ("identity", "type"): "test_keys_at_work.py::test_type_of_the_tokens_of_an_issuer",
    ("identity", "resource"): "test_issuer_keys.py::test_the_resource_tells_who_issues_its_tokens",
    ("introspection", "cache"): "test_introspection.py::test_a59_a_revoked_token_is_refused_within_the_stated_time",
    ("upstream", "balance"): "test_upstream_faults.py::test_one_endpoint_leaves_no_choice",
    ("upstream", "protocol"): "test_health_checks.py::test_a_path_is_asked_for_over_http2",
    ("upstream-tls", "ca"): "test_health_checks.py::test_tls_upstreams_are_verified_and_shown_the_client_certificate",
    ("upstream-tls", "cert"): "test_health_checks.py::test_tls_upstreams_are_verified_and_shown_the_client_certificate",
    ("upstream-tls", "key"): "test_health_checks.py::test_tls_upstreams_are_verified_and_shown_the_client_certificate",
    ("upstream-tls", "server_name"): "test_health_checks.py::test_a_certificate_for_another_name_is_a_failure",
    ("upstream-limits", "connections"): "test_health_checks.py::test_checks_take_no_place_of_requests",
    ("upstream-limits", "pending"): "test_http2_upstream.py::test_requests_beyond_what_may_wait_are_shed",
    ("upstream-timeouts", "connect"): "test_upstream_faults.py::test_an_upstream_that_never_accepts_gives_504",
    ("upstream-timeouts", "response"): "test_http1.py::test_a_slow_upstream",
    ("upstream-timeouts", "idle"): "test_grpc.py::test_a_stream_on_which_nothing_moves_ends",
    ("health", "path"): "test_health_checks.py::test_a_path_is_asked_for_over_http2",
    ("health", "service"): "test_health_checks.py::test_of_a_named_service_everything_but_serving_is_a_failure",
    ("endpoint", "weight"): "test_upstream_faults.py::test_weights_take_effect_on_a_reload",
    ("rewrite", "strip_prefix"): "test_http1.py::test_rewrite_and_header_settings",
    ("rewrite", "add_prefix"): "test_http1.py::test_rewrite_and_header_settings",
    ("headers", "set"): "test_http1.py::test_rewrite_and_header_settings",
    ("headers", "remove"): "test_http1.py::test_rewrite_and_header_settings",
    ("forward", "authorization"): "test_http1.py::test_credentials_stay_here_unless_the_route_forwards_them",
    ("rate-limit", "delay"): "test_limits.py::test_a_limit_that_delays_spreads_requests_out",
    ("respond", "content_type"): "test_keys_at_work.py::test_content_type_of_an_answer",
    ("cors", "expose"): "test_browser_cors.py::test_pages_of_allowed_and_foreign_origins",
    ("cors", "credentials"): "test_cors.py::test_answers_and_later_refusals_carry_the_fields_of_an_allowed_origin",
    ("cors", "max_age"): "test_browser_cors.py::test_pages_of_allowed_and_foreign_origins",
    ("websocket", "idle_timeout"): "test_websocket.py::test_an_idle_tunnel_is_told_to_go",
    ("websocket", "tunnels_per_client"): "test_websocket.py::test_a_client_has_only_so_many_tunnels",
    ("body", "schema"): "test_validation.py::test_a_schema_decides",
    ("log", "access"): "test_exhaustion.py::test_a_full_disk_under_the_access_log_stops_nothing",
    ("log", "process"): "test_keys_at_work.py::test_process_and_level_of_the_log",
    ("log", "level"): "test_keys_at_work.py::test_process_and_level_of_the_log",
    ("admin", "socket"): "test_shared_limits.py::test_limits_top_shows_who_is_limited",
    ("admin", "address"): "test_exhaustion.py::test_memory_is_bounded_and_told",
    ("shared-state", "on_failure"): "test_shared_limits.py::test_closed_refuses_with_503",
    ("shared-state", "mode"): "test_shared_limits.py::test_exact_is_exact_over_nodes",
    ("shared-state", "nodes"): "test_shared_limits.py::test_killed_then_local_then_back",
    ("redis", "sentinels"): "test_shared_topologies.py::test_the_master_that_sentinels_name_counts",
    ("redis", "master"): "test_shared_topologies.py::test_the_master_that_sentinels_name_counts",
    ("redis", "cluster"): "test_shared_topologies.py::test_a_cluster_counts_wherever_the_key_is",
    ("redis", "tls"): "test_shared_topologies.py::test_tls_is_verified",
    ("redis", "username"): "test_shared_limits.py::test_an_acl_user_needs_little",
    ("redis", "password_file"): "test_shared_limits.py::test_an_acl_user_needs_little",
}
