"""Certificates made by openssl, and servers that speak TLS with them."""
import os
import pwd
import shutil
import subprocess

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
ONLY_TLS = """local all all trust
hostssl all all 127.0.0.1/32 trust
host all all 0.0.0.0/0 reject
"""


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, stdin=subprocess.DEVNULL, capture_output=True)


class Authority:
    """Signs certificates of servers; `path` is what sslrootcert names."""

    def __init__(self, directory, name="authority"):
        self.directory = directory
        self.path = directory / f"{name}.crt"
        self.key = directory / f"{name}.key"
        openssl("req", "-x509", *KEY, "-keyout", self.key, "-out", self.path, "-subj", f"/CN={name}", "-days", 10)
        self.path.chmod(0o644)

    def sign(self, host, days=10):
        """(certificate, key) for that name; days below 0: its time is over."""
        base = self.directory / f"{self.path.stem}-{host}-{days}"
        request, certificate, key = (base.with_name(base.name + end) for end in (".csr", ".crt", ".key"))
        openssl("req", *KEY, "-keyout", key, "-out", request, "-subj", f"/CN={host}")
        openssl("x509", "-req", "-in", request, "-CA", self.path, "-CAkey", self.key, "-CAcreateserial",
                "-days", days, "-out", certificate)
        return certificate, key


def install(server, certificate, key):
    """From the next start or reload on."""
    for path, name in ((certificate, "server.crt"), (key, "server.key")):
        there = server.data / name
        shutil.copyfile(path, there)
        there.chmod(0o600)
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(there, owner.pw_uid, owner.pw_gid)


def speak_tls(server, certificate, key):
    """The running server takes no other connections over the network than encrypted ones."""
    install(server, certificate, key)
    server.configure({"ssl": "on"})
    (server.data / "pg_hba.conf").write_text(ONLY_TLS)
    server.restart()
