"""NLnet Labs' nsd, an authoritative name server, unpacked and run on a free port of 127.0.0.1."""

import os
import signal
import socket
import subprocess

from .nameserver import SERVFAIL, same_port
from .server import ROOT, environment
from .waiting import until

PACKAGE = ROOT / ".build-tools/nsd"


class AuthoritativeServer:
    """Serves everything below the root. `zone` is as NameServer's: names with their records, or SERVFAIL."""

    def __init__(self, folder, zone):
        self.folder = folder
        self.zone = {name.lower(): records for name, records in zone.items()}
        self.process = None
        # A zone without its file is answered SERVFAIL.
        self.broken = [name for name, records in self.zone.items() if records == SERVFAIL]
        udp, tcp = same_port()
        self.port = udp.getsockname()[1]
        udp.close()
        tcp.close()
        self.address = f"127.0.0.1:{self.port}"
        zones = "".join(f'zone:\n  name: "{name}"\n  zonefile: "{self._file(name)}"\n' for name in (".", *self.broken))
        (folder / "nsd.conf").write_text(
            f"""
server:
  ip-address: 127.0.0.1@{self.port}
  username: ""
  zonesdir: "{folder}"
  database: ""
  pidfile: "{folder}/pid"
  xfrdfile: "{folder}/xfrd"
  zonelistfile: "{folder}/zones"
  logfile: "{folder}/log"
  server-count: 1
remote-control:
  control-enable: no
{zones}"""
        )
        self._write(".", {name: records for name, records in self.zone.items() if records != SERVFAIL})
        self.start()

    def _write(self, apex, names):
        # Short, so that nothing is remembered for longer than a test.
        lines = ["$TTL 1", f"{absolute(apex)} SOA ns. root. 1 1 1 1 1", f"{absolute(apex)} NS ns."]
        for name, records in names.items():
            lines += [f"{absolute(name)} {kind} {data(kind, values)}" for kind, *values in records]
            # The name is there, whatever it has.
            lines.append(f'{absolute(name)} TXT "x"' if not any(r[0] == "CNAME" for r in records) else "")
        self._file(apex).write_text("\n".join(lines) + "\n")

    def _file(self, apex):
        return self.folder / ("root" if apex == "." else apex)

    def start(self):
        libraries = [*PACKAGE.glob("usr/lib/*-linux-gnu"), *PACKAGE.glob("lib/*-linux-gnu")]
        self.process = subprocess.Popen(
            [PACKAGE / "usr/sbin/nsd", "-d", "-c", self.folder / "nsd.conf"],
            cwd=self.folder,
            env=environment({"LD_LIBRARY_PATH": ":".join(map(str, libraries))}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._answers_or_gone, "nsd answering")
        if self.process.poll() is not None:
            raise AssertionError(f"nsd: {(self.folder / 'log').read_text()}")

    def _answers_or_gone(self):
        if self.process.poll() is not None:
            return True
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def mend(self, name, records):
        """A name that was SERVFAIL gets its records."""
        self._write(name, {name: records})
        self.process.send_signal(signal.SIGHUP)

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)


def absolute(name):
    return "." if name == "." else f"{name}."


def data(kind, values):
    if kind == "MX":
        return f"{values[0]} {absolute(values[1])}"
    return absolute(values[0]) if kind == "CNAME" else values[0]


def is_there():
    return os.access(PACKAGE / "usr/sbin/nsd", os.X_OK)
