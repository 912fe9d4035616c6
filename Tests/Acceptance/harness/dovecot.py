"""Dovecot's LMTP server as a process of its own: unpacked, not installed; unprivileged; its mail in maildirs."""

import grp
import mailbox
import os
import pathlib
import pwd
import socket
import subprocess

from .directory import free_ports
from .disk import build
from .server import ROOT, environment
from .waiting import until

PACKAGE = ROOT / ".build-tools/dovecot"
LIBRARIES = PACKAGE / "usr/lib/dovecot"


class Dovecot:
    """Serves `users`, a mapping of addresses to the KiB that their mailboxes hold (None: no limit).

    On a port of 127.0.0.1 and on a unix-domain socket. With `pair` STARTTLS is offered.
    """

    def __init__(self, folder, users, pair=None):
        self.folder = pathlib.Path(folder)
        # It refuses to deliver as root.
        self.user = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        self.port, = free_ports(1)
        self.socket = self.folder / "lmtp"
        self.process = None
        for name in ("", "state", "mail"):
            (self.folder / name).mkdir(exist_ok=True)
        self._write("dovecot.conf", self._configuration(pair))
        self._write("users", "".join(self._entry(*user) for user in users.items()))
        for path in [self.folder, *self.folder.iterdir()]:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)
        if pair:
            # Read by the processes of that user.
            for path in (pair.cert_file, pair.key_file):
                self._write(path.name, path.read_text())
                os.chown(self.folder / path.name, self.user.pw_uid, self.user.pw_gid)

    def _write(self, name, text):
        (self.folder / name).write_text(text)

    def _entry(self, address, limit):
        quota = f"userdb_quota_rule=*:storage={limit}k" if limit else ""
        # user:password:uid:gid:gecos:home:shell:extra; nobody logs in.
        return f"{address}:{{PLAIN}}x:{self.user.pw_uid}:{self.user.pw_gid}::{self.folder}/home/{address}::{quota}\n"

    def _configuration(self, pair):
        user, group = self.user.pw_name, grp.getgrgid(self.user.pw_gid).gr_name
        tls = (
            f"ssl = yes\nssl_cert = <{self.folder}/{pair.cert_file.name}\nssl_key = <{self.folder}/{pair.key_file.name}\n"
            if pair
            else "ssl = no\n"
        )
        return tls + f"""
protocols = lmtp
base_dir = {self.folder}/run
state_dir = {self.folder}/state
libexec_dir = {LIBRARIES}
mail_plugin_dir = {LIBRARIES}/modules
mail_plugins = quota
mail_location = maildir:{self.folder}/mail/%d/%n
import_environment = $import_environment LD_LIBRARY_PATH LD_PRELOAD DOVECOT_LIBRARIES
log_path = /dev/stderr
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
first_valid_uid = 1
first_valid_gid = 1
quota_full_tempfail = yes
plugin {{
  quota = count:User quota
  quota_vsizes = yes
}}
userdb {{
  driver = passwd-file
  args = {self.folder}/users
}}
passdb {{
  driver = passwd-file
  args = {self.folder}/users
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
service lmtp {{
  user = {user}
  unix_listener {self.socket} {{
    mode = 0666
  }}
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {self.port}
  }}
}}
"""

    def start(self):
        """Starts it, or starts it again at the same places."""
        libraries = [LIBRARIES, LIBRARIES / "modules/old-stats", *PACKAGE.glob("usr/lib/*-linux-gnu"),
                     *PACKAGE.glob("lib/*-linux-gnu")]
        variables = {
            "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
            "LD_PRELOAD": str(build(ROOT / "Tests/Faults/dovecot.c")),
            "DOVECOT_LIBRARIES": str(LIBRARIES),
        }
        file = self.folder / "dovecot.conf"
        # By itself it would look for doveconf where it would have been installed.
        command = [PACKAGE / "usr/bin/doveconf", "-f", "service=master", "-c", file, "-m", "master",
                   "-e", PACKAGE / "usr/sbin/dovecot", "-F", "-c", file]
        switch = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment(variables), stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, **switch,
            )
        until(self._listens_or_gone, "Dovecot listening", 30)
        if self.process.poll() is not None:
            raise AssertionError(f"dovecot: {self.log}")
        return self

    def _listens_or_gone(self):
        if self.process.poll() is not None:
            return True
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    @property
    def log(self):
        return (self.folder / "log").read_text(errors="backslashreplace")

    @property
    def tcp_route(self):
        return f"lmtp://127.0.0.1:{self.port}"

    @property
    def socket_route(self):
        return f"lmtp+unix://{self.socket}"

    def messages(self, address):
        """What is in the mailbox, each as its octets."""
        name, domain = address.split("@")
        return messages_in(self.folder / "mail" / domain / name)


def messages_in(path):
    """The messages in a maildir, each as its octets; none while there is no maildir."""
    if not all((path / name).is_dir() for name in ("tmp", "new", "cur")):
        return []
    box = mailbox.Maildir(path, create=False)
    return [box.get_bytes(key) for key in box.keys()]


def is_there():
    return os.access(PACKAGE / "usr/sbin/dovecot", os.X_OK)
