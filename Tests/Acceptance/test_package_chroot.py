"""The Debian package in a Debian of its own: installed, used, removed and purged. `make package-test`."""

import os
import pathlib
import re
import shutil
import signal
import stat
import subprocess
import unittest

from harness.case import Case
from harness.client import Client
from harness.debian import Debian, needs_root_and
from harness.server import BINARY, LISTENER, ROOT
from harness.tools import run
from harness.waiting import PATIENCE, until

CONFIGURATION = "/etc/elemta/elemta.yaml"
UNITS = ("elemta.service", "elemta.socket")
ROUTES = """  routes:
    - domain: example.com
      deliver: "maildir:///var/mail/vhosts/{domain}/{local}"
    - domain: example.org
      deliver: "smtp://127.0.0.1:9"
"""


class RunningServer:
    """The server inside, started by hand as root."""

    def __init__(self, debian):
        self.log = debian.folder / "stdout"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                debian.command("/usr/bin/elemta", "server", "--config", CONFIGURATION),
                env=debian.variables, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )
        ready = until(self._ready, "the log line `ready`", 30)
        v6, v4, port = LISTENER.search(ready).groups()
        self.address = (v6 or v4, int(port))

    def _ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"ended with {self.process.returncode}:\n{self.log.read_text()}")
        # Not the address of http.listen_addr, which comes before.
        found = re.search(r"\bready\b.*\b(listeners=.*\n)", self.log.read_text())
        return found and found[1]

    def user(self):
        return os.stat(f"/proc/{self.process.pid}").st_uid

    def send(self, recipient, content):
        client = Client(self.address)
        try:
            client.ehlo("client.example.org")
            reply = client.message("alice@example.net", [recipient], content)
            if reply.code != 250:
                raise AssertionError(f"{reply}")
        finally:
            client.close()

    def stop(self):
        self.process.terminate()
        return self.process.wait(30 * PATIENCE)


@unittest.skipUnless(os.environ.get("CHROOT"), "takes a minute and the network: make package-test")
class Chroot(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        needs_root_and("debootstrap", "dpkg-deb")
        built = run([ROOT / "packaging/deb", BINARY], directory=ROOT, seconds=300).splitlines()[-1]
        cls.debian = Debian()
        cls.addClassCleanup(cls.debian.remove)
        cls.package = f"/tmp/{pathlib.Path(built).name}"
        shutil.copy(ROOT / built, cls.debian.path(cls.package))
        cls.debian.run("apt-get", "update")

    def started(self):
        server = RunningServer(self.debian)
        self.addCleanup(lambda: server.process.poll() is None and server.stop())
        return server

    def exists(self, name):
        return os.path.lexists(self.debian.path(name))

    def configure(self):
        file = self.debian.path(CONFIGURATION)
        text = file.read_text()
        for old, new in (
            ('listen_addr: ":2525"', 'listen_addr: "127.0.0.1:0"'),
            ("local_domains: []", "local_domains: [example.com, example.org]"),
            ("  routes: []\n", ROUTES),
        ):
            self.assertEqual(text.count(f"\n{old}"), 1, old)
            text = text.replace(f"\n{old}", f"\n{new}")
        # Whatever listens besides gets no fixed port from a test.
        file.write_text(re.sub(r'"127\.0\.0\.1:8080"', '"127.0.0.1:0"', text))
        self.debian.run("install", "-d", "-o", "elemta", "-g", "elemta", "-m", "700", "/var/mail/vhosts")

    def assertOwned(self, name, user, mode):
        found = os.stat(self.debian.path(name))
        self.assertEqual((found.st_uid, oct(stat.S_IMODE(found.st_mode))), (user, oct(mode)), name)

    def test_a_life_of_the_package(self):
        debian = self.debian
        debian.install(self.package)
        user = int(debian.run("id", "-u", "elemta"))
        self.assertIn("ssl-cert", debian.run("id", "-Gn", "elemta"))
        self.assertOwned("/var/lib/elemta", user, 0o700)
        self.assertOwned("/var/log/elemta", user, 0o750)
        self.assertTrue(self.exists("/etc/systemd/system/multi-user.target.wants/elemta.service"))
        said = debian.run("elemta", "check")
        self.assertTrue(said.endswith("\nok\n"), said)
        self.assertNotIn("warning", said)

        # Used, as it would be by hand.
        self.configure()
        server = self.started()
        self.assertEqual(server.user(), user)
        server.send("kim@example.com", b"Subject: to a maildir\r\n\r\nhello\r\n")
        mailbox = debian.path("/var/mail/vhosts/example.com/kim/new")
        arrived = until(lambda: mailbox.is_dir() and list(mailbox.iterdir()), "the message in the maildir", 20)
        self.assertIn(b"Subject: to a maildir", arrived[0].read_bytes())
        server.send("kim@example.org", b"Subject: waits\r\n\r\nhello\r\n")
        self.assertIn("kim@example.org", debian.run("elemta", "queue", "list"))

        # The log is rotated under the running server's hands.
        debian.install("logrotate")
        debian.run("logrotate", "--force", "/etc/logrotate.d/elemta")
        self.assertTrue(self.exists("/var/log/elemta/elemta.log.1"))
        self.assertOwned("/var/log/elemta/elemta.log", user, 0o640)
        # As systemd would tell it.
        server.process.send_signal(signal.SIGHUP)
        log = debian.path("/var/log/elemta/elemta.log")
        until(lambda: "configuration_reloaded" in log.read_text(), "a line in the new log file", 20)
        self.assertEqual(server.stop(), 0)

        # Installed over, removed and installed again: configuration and queue are as they were.
        changed = debian.path(CONFIGURATION).read_text()
        debian.run("dpkg", "--install", self.package)
        debian.run("apt-get", "remove", "--yes", "elemta")
        self.assertFalse(self.exists("/usr/bin/elemta"))
        for unit in UNITS:
            self.assertEqual(os.readlink(debian.path(f"/etc/systemd/system/{unit}")), "/dev/null", unit)
        debian.install(self.package)
        for unit in UNITS:
            self.assertFalse(self.exists(f"/etc/systemd/system/{unit}"), unit)
        self.assertEqual(debian.path(CONFIGURATION).read_text(), changed)
        server = self.started()
        self.assertIn("kim@example.org", debian.run("elemta", "queue", "list"))
        self.assertEqual(server.stop(), 0)

        debian.run("apt-get", "purge", "--yes", "elemta")
        left = [name for name in ("/etc/elemta", "/var/lib/elemta", "/var/log/elemta", "/usr/bin/elemta",
                                  "/etc/logrotate.d/elemta", "/usr/share/doc/elemta", "/lib/systemd/system/elemta.service",
                                  "/etc/systemd/system/multi-user.target.wants/elemta.service",
                                  *(f"/etc/systemd/system/{unit}" for unit in UNITS)) if self.exists(name)]
        self.assertEqual(left, [])
        self.assertNotEqual(debian.run("dpkg-query", "--show", "elemta", status=1), "")
