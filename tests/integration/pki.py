"""Certificates for tests of TLS."""

import os
import subprocess


class Pki:
    """A certificate authority and what it signed, made by openssl."""

    def __init__(self, folder):
        self.folder = folder
        self._openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
                      "-subj", "/CN=Test CA")
        self.make("server", "DNS:localhost,IP:127.0.0.1")
        self.make("client", "DNS:client")

    def _openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True, timeout=60)

    def make(self, name, alternative_names):
        (self.folder / f"{name}.ext").write_text(f"subjectAltName={alternative_names}\n")
        self._openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key.new", "-out", f"{name}.csr", "-subj",
                      f"/CN={name}")
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out",
                      f"{name}.pem.new", "-days", "2", "-extfile", f"{name}.ext")
        for kind in ("key", "pem"):
            os.replace(self.folder / f"{name}.{kind}.new", self.folder / f"{name}.{kind}")

    def read(self, name):
        return (self.folder / name).read_bytes()
