"""Debian's Postfix, unpacked by scripts/dependencies, run from a folder of its own: nothing is installed.

It needs root, as Postfix does, and runs its daemons as `daemon`, a user that every Debian has.
"""

import os
import shutil
import signal
import subprocess

from harness.server import environment
from harness.tools import POSTFIX, is_root
from harness.waiting import until

from .target import Target, free_port

OWNER, GROUP = "daemon", "mail"
PRIVATE = "active bounce corrupt defer deferred flush hold incoming private saved trace".split()

MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
smtp unix - - n - 200 smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
discard unix - - n - - discard
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""


# smtpd processes, each of which serves one session.
PROCESSES = 200


class Postfix(Target):
    """200 smtpd processes, without limits for clients; mail goes to the transport `discard`."""

    name = "postfix"
    most_held = PROCESSES - 10
    changes = {"default_transport": "discard:"}
    master = None

    @classmethod
    def missing(cls):
        if not is_root():
            return "Postfix needs root"
        program = POSTFIX / "usr/lib/postfix/sbin/master"
        return None if program.exists() else f"{program} isn't there: scripts/dependencies test"

    def _write_configuration(self):
        self.queue = self.directory / "spool"
        self.configuration = self.directory / "etc"
        self.address = "127.0.0.1", free_port()
        self.variables = environment({"LD_LIBRARY_PATH": str(POSTFIX / "usr/lib/postfix")})
        self._make_folders()
        settings = {
            "compatibility_level": "3.6",
            "queue_directory": self.queue,
            "data_directory": self.directory / "data",
            "command_directory": POSTFIX / "usr/sbin",
            "daemon_directory": POSTFIX / "usr/lib/postfix/sbin",
            "shlib_directory": POSTFIX / "usr/lib/postfix",
            "meta_directory": self.configuration,
            "maillog_file": self.directory / "log",
            "maillog_file_prefixes": self.directory,
            "mail_owner": OWNER,
            "setgid_group": GROUP,
            "import_environment": "MAIL_CONFIG MAIL_LOGTAG TZ LANG=C POSTLOG_SERVICE POSTLOG_HOSTNAME LD_LIBRARY_PATH",
            "myhostname": "postfix.example.net",
            "mydestination": "",
            "mynetworks": "127.0.0.0/8",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "alias_maps": "",
            "local_recipient_maps": "",
            "smtp_dns_support_level": "disabled",
            # As the comparison is meant: as fast as it can be without giving up its queue.
            "smtpd_peername_lookup": "no",
            "smtpd_client_connection_count_limit": "0",
            "in_flow_delay": "0",
            "default_process_limit": PROCESSES,
            **self.changes,
        }
        if self.pair:
            settings |= {
                "smtpd_tls_security_level": "may",
                "smtpd_tls_cert_file": self.pair.cert_file,
                "smtpd_tls_key_file": self.pair.key_file,
            }
        lines = (f"{key} = {value}\n" for key, value in settings.items())
        (self.configuration / "main.cf").write_text("".join(lines))
        (self.configuration / "master.cf").write_text(MASTER.format(port=self.address[1]))

    def _make_folders(self):
        for folder in (self.directory, self.queue, self.configuration, self.directory / "data"):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)
        shutil.chown(self.directory / "data", OWNER)
        for name in PRIVATE:
            (self.queue / name).mkdir()
            (self.queue / name).chmod(0o700)
            shutil.chown(self.queue / name, OWNER)
        for name, mode in ("public", 0o710), ("maildrop", 0o730):
            (self.queue / name).mkdir()
            shutil.chown(self.queue / name, OWNER, GROUP)
            (self.queue / name).chmod(mode)
        (self.queue / "pid").mkdir()
        for folder in (self.queue, self.queue / "pid"):
            folder.chmod(0o755)

    def start(self):
        self._write_configuration()
        program = POSTFIX / "usr/lib/postfix/sbin/master"
        with open(self.directory / "master.log", "wb") as log:
            self.master = subprocess.Popen(
                [program, "-c", self.configuration, "-d"],
                env=self.variables | {"MAIL_CONFIG": str(self.configuration)},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )
        self.until_listening(self.master, self.directory / "master.log")
        self.pid = self.master.pid

    def waiting(self):
        return sum(len(files) for name in ("incoming", "active", "deferred") for _, _, files in os.walk(self.queue / name))

    def finish(self):
        until(lambda: not self.waiting(), "an empty queue of Postfix's", 60)

    def end(self):
        if self.master and self.master.poll() is None:
            self.master.send_signal(signal.SIGTERM)
            self.master.wait(30)


class HoldingPostfix(Postfix):
    """Puts mail on hold; `release` has it delivered to `next_hop`."""

    def __init__(self, directory, next_hop):
        super().__init__(directory)
        self.changes = {
            "smtpd_sender_restrictions": "static:HOLD",
            "default_transport": f"smtp:[{next_hop[0]}]:{next_hop[1]}",
            "smtp_destination_concurrency_limit": "100",
        }

    def until_held(self, count):
        held = self.queue / "hold"
        until(lambda: sum(len(files) for _, _, files in os.walk(held)) >= count, "the messages on hold", 60)

    def release(self):
        """Everything on hold is to be delivered at once."""
        self._command("postsuper", "-H", "ALL")
        self._command("postqueue", "-f")

    def _command(self, program, *arguments):
        subprocess.run(
            [POSTFIX / "usr/sbin" / program, "-c", self.configuration, *arguments],
            env=self.variables, check=True, stdin=subprocess.DEVNULL, capture_output=True,
        )
