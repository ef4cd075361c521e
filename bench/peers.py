"""The configurations that make each program do the same work.

Each function writes what a Site asks for into its folder and returns the command that serves it.
"""

import json
from datetime import date, timedelta

import access_tokens
import tunnelled
from setting import GRPC_SERVICE, HEADERS, METHODS, unprivileged

CONNECTIONS_MAX = 25_000
NEVER = 1_000_000_000  # requests on one connection, before it would be closed


def nginx_preamble(folder, connections):
    """What every nginx here starts with: own files, one worker, no privileges it does not need."""
    drop = unprivileged()
    user = f"user {drop[0]} {drop[1]};" if drop else ""
    places = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    head = (
        f"{user} daemon off; worker_processes 1; worker_rlimit_nofile {2 * connections};\n"
        f"pid {folder}/pid; error_log {folder}/errors crit;\nevents {{ worker_connections {2 * connections}; }}\n"
    )
    return head, places


def nginx(site, program):
    head, places = nginx_preamble(site.folder, CONNECTIONS_MAX)
    fields = "\n    ".join(f'add_header {name} "{value}" always;' for name, value in HEADERS)
    allowed = " ".join(f"{method} 0;" for method in METHODS)
    zone = use = ""
    if site.rate is not None:
        zone = f"limit_req_zone $binary_remote_addr zone=clients:10m rate={site.rate}r/s; limit_req_status 429;"
        use = f"limit_req zone=clients burst={site.rate} nodelay;"
    (site.folder / "nginx.conf").write_text(f"""{head}
http {{
  {places}
  access_log off; server_tokens off; default_type application/octet-stream;
  keepalive_timeout 600s; keepalive_requests {NEVER};
  map $request_method $refused {{ default 1; {allowed} }}
  {zone}
  upstream up {{ server 127.0.0.1:{site.upstream_port}; keepalive 1024; keepalive_requests {NEVER}; }}
  upstream calls {{ server 127.0.0.1:{site.grpc_port}; keepalive 1024; keepalive_requests {NEVER}; }}
  server {{
    listen 127.0.0.1:{site.plain_port} backlog=4096;
    listen 127.0.0.1:{site.tls_port} ssl http2 backlog=4096;
    ssl_certificate {site.certificate.cert}; ssl_certificate_key {site.certificate.key};
    ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:sessions:20m; ssl_session_tickets on;
    http2_max_concurrent_streams 128; http2_max_requests {NEVER};
    client_max_body_size 4m; client_body_buffer_size 64k;
    {fields}
    {use}
    if ($refused) {{ return 405; }}
    location {GRPC_SERVICE}/ {{ grpc_pass grpc://calls; }}
    location / {{
      proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_buffer_size 16k; proxy_buffers 16 64k; proxy_busy_buffers_size 128k; proxy_max_temp_file_size 0;
    }}
    location = {tunnelled.PATH} {{
      proxy_pass http://127.0.0.1:{site.echo_port}; proxy_http_version 1.1; proxy_read_timeout 600s;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; proxy_set_header Host $host;
    }}
  }}
}}
""")
    return [program, "-e", site.folder / "errors", "-c", site.folder / "nginx.conf"]


def haproxy(site, program):
    fields = "\n".join(f'  http-response set-header {name} "{value}"' for name, value in HEADERS)
    limit = ""
    if site.rate is not None:
        limit = f"""  stick-table type ip size 100k expire 60s store http_req_rate(1s)
  http-request track-sc0 src
  http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {site.rate} }}
"""
    (site.folder / "haproxy.cfg").write_text(f"""global
  nbthread 1
  no strict-limits
  maxconn {CONNECTIONS_MAX}
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  timeout connect 30s
  timeout client 600s
  timeout server 60s
  timeout http-keep-alive 600s
  timeout tunnel 600s
  option http-keep-alive
  option splice-auto
  http-reuse always
frontend clients
  bind 127.0.0.1:{site.plain_port} backlog 4096
  bind 127.0.0.1:{site.tls_port} backlog 4096 ssl crt {site.certificate.pem} alpn h2,http/1.1
  http-request deny deny_status 405 unless {{ method {" ".join(METHODS)} }}
  acl guarded path {access_tokens.PATH}
  http-request set-var(txn.token) http_auth_bearer if guarded
  http-request set-var(txn.alg) http_auth_bearer,jwt_header_query('$.alg') if guarded
  http-request set-var(txn.iss) http_auth_bearer,jwt_payload_query('$.iss') if guarded
  http-request set-var(txn.aud) http_auth_bearer,jwt_payload_query('$.aud') if guarded
  http-request set-var(txn.exp) http_auth_bearer,jwt_payload_query('$.exp','int') if guarded
  http-request set-var(txn.now) date() if guarded
  http-request deny deny_status 401 if guarded !{{ var(txn.alg) -m str ES256 }}
  http-request deny deny_status 401 if guarded !{{ var(txn.iss) -m str {access_tokens.ISSUER} }}
  http-request deny deny_status 401 if guarded !{{ var(txn.aud) -m str {access_tokens.AUDIENCE} }}
  http-request deny deny_status 401 if guarded {{ var(txn.exp),sub(txn.now) -m int lt 0 }}
  http-request deny deny_status 401 if guarded !{{ var(txn.token),jwt_verify(txn.alg,"{site.issuer.public}") 1 }}
{limit}  http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
  option forwardfor
{fields}
  http-response del-header Server
  use_backend echo if {{ path {tunnelled.PATH} }}
  use_backend calls if {{ path_beg {GRPC_SERVICE}/ }}
  default_backend up
backend up
  server up 127.0.0.1:{site.upstream_port}
backend echo
  server echo 127.0.0.1:{site.echo_port}
backend calls
  server calls 127.0.0.1:{site.grpc_port} proto h2
""")
    return [program, "-db", "-f", site.folder / "haproxy.cfg"]


def merlon(site, program):
    certificate = {"cert": str(site.certificate.cert), "key": str(site.certificate.key)}
    route = {
        "name": "all", "match": {"host": "*", "path": "/**"}, "methods": list(METHODS), "auth": "none",
        "body": {"max": "4MiB"}, "upstream": "up",
    }  # fmt: skip
    if site.rate is not None:
        route["rate_limit"] = {"rate": f"{site.rate}/s", "burst": site.rate, "per": "client"}
    counted_in = {}
    if site.redis_port is not None:
        route["rate_limit"]["shared"] = True
        redis = {"address": f"127.0.0.1:{site.redis_port}", "timeout": "2s"}
        counted_in["shared_state"] = {"redis": redis, "mode": "exact", "nodes": 1}
    upstream = {
        "endpoints": [f"127.0.0.1:{site.upstream_port}"],
        "limits": {"connections": CONNECTIONS_MAX, "pending": 1024},
        "timeouts": {"connect": "30s"},  # as long as the others wait when thousands connect at once
    }
    tunnels = {
        "name": "tunnels", "match": {"host": "*", "path": tunnelled.PATH}, "methods": ["GET"], "auth": "none",
        "websocket": {"tunnels_per_client": 10_000}, "upstream": "echo",
    }  # fmt: skip
    guarded = {
        "name": "guarded", "match": {"host": "*", "path": access_tokens.PATH}, "methods": list(METHODS),
        "auth": {"jwt": "issuer"}, "upstream": "up",
    }  # fmt: skip
    issuer = {"issuer": access_tokens.ISSUER, "audience": access_tokens.AUDIENCE, "jwks_file": str(site.issuer.jwks)}
    echo = {"endpoints": [f"127.0.0.1:{site.echo_port}"]}
    grpc = {"endpoints": [f"127.0.0.1:{site.grpc_port}"], "protocol": "h2"}
    calls = {
        "name": "calls", "match": {"host": "*", "path": f"{GRPC_SERVICE}/**"}, "methods": ["POST"], "auth": "none",
        "upstream": "grpc",
    }  # fmt: skip
    if site.rate is not None:
        calls["rate_limit"] = route["rate_limit"]
    off = {
        "rule": "access-log-off", "on": "log.access", "reason": "none of the compared programs logs",
        "owner": "bench@example.com", "expires": str(date.today() + timedelta(days=30)),
    }  # fmt: skip
    config = {
        "version": 1,
        "listeners": [
            {"name": "plain", "address": f"127.0.0.1:{site.plain_port}"},
            {
                "name": "tls", "address": f"127.0.0.1:{site.tls_port}",
                "tls": {"certificates": [certificate]},
            },
        ],
        "limits": {
            "workers": 1, "connections": CONNECTIONS_MAX, "connections_per_client": CONNECTIONS_MAX,
            "requests_in_flight": CONNECTIONS_MAX, "memory": "4GiB",
        },
        "timeouts": {"idle": "10min"},
        "upstreams": {"up": upstream, "echo": echo, "grpc": grpc},
        "identity": {"issuer": issuer},
        "routes": [route, guarded, tunnels, calls],
        "waivers": [off],
        "log": {"access": "off"},
        **counted_in,
    }  # fmt: skip
    (site.folder / "merlon.yaml").write_text(json.dumps(config, indent=1))  # JSON is YAML
    (site.folder / "merlon.yaml").chmod(0o640)
    return [program, "run", "-c", site.folder / "merlon.yaml"]


def relay(site, program):
    return [program, str(site.plain_port), str(site.upstream_port)]
