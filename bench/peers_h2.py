"""Configurations of the programs that take part in the comparison of HTTP/2 only.

They have no list of methods and no rate limit without a script, so they do a little less than the others.
"""

from peers import CONNECTIONS_MAX, NEVER
from setting import GRPC_SERVICE, HEADERS, unprivileged


def h2o(site, program):
    drop = unprivileged()
    user = f"user: {drop[0]}\n" if drop else ""
    fields = "\n".join(f'header.set: "{name}: {value}"' for name, value in HEADERS)
    (site.folder / "h2o.conf").write_text(f"""{user}num-threads: 1
max-connections: {CONNECTIONS_MAX}
send-server-name: OFF
listen: {{ host: 127.0.0.1, port: {site.plain_port} }}
listen:
  host: 127.0.0.1
  port: {site.tls_port}
  ssl:
    certificate-file: {site.certificate.cert}
    key-file: {site.certificate.key}
    ocsp-update-interval: 0
http2-idle-timeout: 600
proxy.timeout.keepalive: 60000
proxy.preserve-host: ON
{fields}
hosts:
  default:
    paths:
      "/":
        proxy.reverse.url: "http://127.0.0.1:{site.upstream_port}/"
""")
    return [program, "-c", site.folder / "h2o.conf"]


def nghttpx(site, program):
    (site.folder / "nghttpx.conf").write_text("")  # without it the system's own is read
    return [
        program, f"--conf={site.folder}/nghttpx.conf", f"--errorlog-file={site.folder}/errors",
        f"-f127.0.0.1,{site.plain_port};no-tls", f"-f127.0.0.1,{site.tls_port}",
        f"-b127.0.0.1,{site.upstream_port};;proto=http/1.1", f"-b127.0.0.1,{site.grpc_port};{GRPC_SERVICE}/;proto=h2",
        "--workers=1", "--backlog=4096", "--no-ocsp",
        "--no-via", "--server-name=-", "--frontend-keep-alive-timeout=600s", f"--frontend-max-requests={NEVER}",
        "--frontend-http2-max-concurrent-streams=128", "--add-x-forwarded-for",
        *[f"--add-response-header={name}: {value}" for name, value in HEADERS],
        str(site.certificate.key), str(site.certificate.cert),
    ]  # fmt: skip
