"""OpenLDAP's slapd as a process of its own."""

import os
import pathlib
import socket
import subprocess

from .server import ROOT, environment
from .tools import run
from .waiting import until

PACKAGE = ROOT / ".build-tools/slapd"

ENTRIES = """\
dn: dc=example,dc=com
objectClass: domain
dc: example

dn: cn=reader,dc=example,dc=com
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: reads

dn: uid=alice,dc=example,dc=com
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: Example
mail: alice@example.com
userPassword: hunter2

dn: uid=bob,dc=example,dc=com
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: Example
mail: bob@example.com
userPassword: correct horse
"""


class Directory:
    """`folder` is a new folder of its own; `pair` its certificate.

    Nobody but `cn=reader` may search, and passwords are for binding only.
    """

    def __init__(self, folder, pair):
        self.folder = pathlib.Path(folder)
        self.pair = pair
        self.port, self.secure_port = free_ports(2)
        self.process = None
        libraries = PACKAGE.glob("usr/lib/*-linux-gnu")
        self.environment = environment({"LD_LIBRARY_PATH": ":".join(map(str, libraries))})
        self.program = PACKAGE / "usr/sbin/slapd"
        self.bind_password_file = self.folder / "bind-password"
        self.bind_password_file.write_text("reads\n")
        self._prepare()
        self.start()

    def _prepare(self):
        schemas = "\n".join(
            f"include {PACKAGE}/etc/ldap/schema/{name}.schema"
            for name in ("core", "cosine", "inetorgperson")
        )
        (self.folder / "slapd.conf").write_text(
            f"""\
{schemas}
pidfile {self.folder}/pid
argsfile {self.folder}/args
TLSCertificateFile {self.pair.cert_file}
TLSCertificateKeyFile {self.pair.key_file}
database ldif
suffix dc=example,dc=com
directory {self.folder}
access to attrs=userPassword by anonymous auth
access to * by dn.exact=cn=reader,dc=example,dc=com read
"""
        )
        (self.folder / "entries.ldif").write_text(ENTRIES)
        add = [self.program, "-T", "add", "-f", "slapd.conf", "-l", "entries.ldif"]
        run(add, env=self.environment, directory=self.folder)

    def start(self):
        """Starts it, or starts it again on the same ports."""
        urls = f"ldap://127.0.0.1:{self.port} ldaps://127.0.0.1:{self.secure_port}"
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [self.program, "-d", "0", "-f", "slapd.conf", "-h", urls],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        until(self._listens_or_gone, "slapd listening", 30)
        if self.process.poll() is not None:
            raise AssertionError(f"slapd: {(self.folder / 'log').read_text()}")

    def _listens_or_gone(self):
        if self.process.poll() is not None:
            return True
        for port in (self.port, self.secure_port):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) != 0:
                    return False
        return True

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    def settings(self, **changes):
        """What finds Alice: `auth.ldap`."""
        return {
            "url": f"ldap://127.0.0.1:{self.port}",
            "base_dn": "dc=example,dc=com",
            "bind_dn": "cn=reader,dc=example,dc=com",
            "bind_password_file": str(self.bind_password_file),
        } | changes


def is_there():
    return os.access(PACKAGE / "usr/sbin/slapd", os.X_OK)


def free_ports(count):
    """Ports that were free a moment ago, all different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
