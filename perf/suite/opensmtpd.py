"""Debian's OpenSMTPD, unpacked and run in a root of its own, as its paths and users are built in.

It needs root. The folder gets copies of the libraries and files of its own in place of /etc; nothing is mounted.
"""

import re
import shutil
import signal
import subprocess

from harness.server import ROOT, environment
from harness.tools import is_root

from .target import Target, free_port

PACKAGE = ROOT / ".build-tools/opensmtpd"
PROGRAMS = ("usr/sbin/smtpd", "usr/sbin/smtpctl")
# Mail stays in its queue: the attempt at the next hop, where nothing listens, is paused by -P.
CONFIGURATION = """\
smtp max-message-size 64M
smtp limit max-mails 10000000
listen on 127.0.0.1 port {port} hostname mail.example.com
action "away" relay host smtp://127.0.0.1:1
match from any for any action "away"
"""
FILES = {
    "etc/passwd": "root:x:0:0::/root:/bin/sh\n"
    "opensmtpd:x:901:901::/var/lib/opensmtpd/empty:/bin/false\n"
    "opensmtpq:x:902:902::/var/lib/opensmtpd/empty:/bin/false\n",
    "etc/group": "root:x:0:\nopensmtpd:x:901:\nopensmtpq:x:902:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    # It asks for the names of addresses: from this file, not from a name server.
    "etc/resolv.conf": "lookup file\n",
    "dev/null": "",
}
FOLDERS = ("etc", "dev", "tmp", "var/spool/smtpd", "var/run", "var/lib/opensmtpd/empty", "usr/sbin")


class OpenSMTPD(Target):
    """As it comes: it doesn't sync what it accepts. Delivery is paused, so that only accepting is measured."""

    name = "opensmtpd"
    octets_a_session = 80 << 10
    why_no_tls = "it answers a handshake with the alert internal_error where its key is P-256"
    most_held = 5_000
    most_sending = 20
    why_no_more = "its listen backlog is 5: more sessions would wait for seconds to be connected"
    process = None

    @classmethod
    def missing(cls):
        if not is_root():
            return "OpenSMTPD needs root"
        program = PACKAGE / PROGRAMS[0]
        if not program.exists():
            return "OpenSMTPD isn't unpacked: scripts/dependencies perf"
        if absent := re.findall(r"(\S+) => not found", libraries_of(program)):
            return f"OpenSMTPD lacks {', '.join(absent)}"
        return None

    def start(self):
        self._make_root()
        port = free_port()
        (self.directory / "etc/smtpd.conf").write_text(CONFIGURATION.format(port=port))
        log = self.directory / "log"
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                ["chroot", self.directory, "/usr/sbin/smtpd", "-d", "-P", "mta", "-P", "mda"],
                env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )
        self.pid, self.address = self.process.pid, ("127.0.0.1", port)
        self.until_listening(self.process, log)

    def _make_root(self):
        self.directory.chmod(0o755)
        for folder in FOLDERS:
            (self.directory / folder).mkdir(parents=True, exist_ok=True)
        (self.directory / "var/spool/smtpd").chmod(0o711)
        for name, content in FILES.items():
            (self.directory / name).write_text(content)
        (self.directory / "dev/null").chmod(0o666)
        for program in PROGRAMS:
            shutil.copy(PACKAGE / program, self.directory / program)
            for library in re.findall(r"(/\S+) \(0x", libraries_of(PACKAGE / program)):
                copy = self.directory / library.lstrip("/")
                if not copy.exists():
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(library, copy)

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)


def libraries_of(program):
    finished = subprocess.run(["ldd", program], stdout=subprocess.PIPE, check=True, text=True)
    return finished.stdout
