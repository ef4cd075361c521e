"""Certificates for tests, made with the openssl program: one authority and what it signs."""

import ssl
import subprocess
from datetime import datetime, timedelta, timezone


class Pki:
    def __init__(self, folder):
        self.folder = folder
        self.ca = folder / "ca.pem"
        self._ca_key = folder / "ca.key"
        self._openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", self._ca_key, "-out", self.ca, "-days", "30", "-subj", "/CN=Test authority",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip

    def issue(self, *names, days=20, file=None, begins_in_s=None):
        """A certificate for DNS names and IP addresses: the paths of certificate and key."""
        stem = file or names[0].replace("*", "any").replace(":", "_")
        cert, key = self.folder / f"{stem}.pem", self.folder / f"{stem}.key"
        request, extensions = self.folder / f"{stem}.csr", self.folder / f"{stem}.ext"
        alternative = ",".join(
            f"{'IP' if name.replace('.', '').isdigit() or ':' in name else 'DNS'}:{name}"
            for name in names
        )
        extensions.write_text(
            f"subjectAltName={alternative}\nbasicConstraints=CA:FALSE\n"
            "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n"
        )
        self._openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", key, "-out", request, "-subj", f"/CN={names[0]}",
        )  # fmt: skip
        if begins_in_s is None:
            self._openssl(
                "x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._ca_key,
                "-CAcreateserial", "-out", cert, "-days", str(days), "-extfile", extensions,
            )  # fmt: skip
        else:
            self._sign_from(begins_in_s, request, cert, "-days", str(days), "-extfile", extensions)
        key.chmod(0o600)
        return str(cert), str(key)

    def _sign_from(self, begins_in_s, request, cert, *how):
        begins = datetime.now(timezone.utc) + timedelta(seconds=begins_in_s)
        config = self.folder / "ca.cnf"
        config.write_text(
            f"[ca]\ndefault_ca=c\n[c]\ndatabase={self.folder}/index\nnew_certs_dir={self.folder}\nrand_serial=yes\n"
            "default_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n"
        )
        (self.folder / "index").write_text("")
        self._openssl(
            "ca", "-batch", "-notext", "-config", config, "-cert", self.ca, "-keyfile", self._ca_key,
            "-in", request, "-out", cert, "-startdate", begins.strftime("%Y%m%d%H%M%SZ"), *how,
        )  # fmt: skip

    def client(self, **settings):
        """A context that trusts this authority; `settings` are attributes of the context."""
        context = ssl.create_default_context(cafile=str(self.ca))
        for name, value in settings.items():
            setattr(context, name, value)
        return context

    @staticmethod
    def _openssl(*arguments):
        subprocess.run(
            ["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60
        )
