"""Elemta as a process of its own, in a directory of its own, on ports that the kernel chose."""

import json
import os
import pathlib
import re
import signal
import subprocess

from .waiting import PATIENCE, until

ROOT = pathlib.Path(__file__).resolve().parents[3]
BINARY = pathlib.Path(os.environ.get("ACCEPTANCE_BINARY", ROOT / ".build/release/elemta")).resolve()
# "address", "thread" or "": what the binary was built with.
SANITIZER = os.environ.get("ACCEPTANCE_SANITIZER", "")

LISTENER = re.compile(r"(?:\[([0-9a-f:.]+)\]|(\d+\.\d+\.\d+\.\d+)):(\d+)")


def environment(additions=None):
    """The environment of every process of ours: without keys that would change the configuration."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ELEMTA_")}
    return inherited | (additions or {})


def yaml(value, indent=0):
    """Block style for mappings and lists, JSON for what's inside them: both are YAML.

    A key whose value is None is left out.
    """
    margin = "  " * indent
    if isinstance(value, dict) and value:
        lines = []
        for key, inner in value.items():
            if inner is None:
                continue
            if isinstance(inner, (dict, list)) and inner:
                lines.append(f"{margin}{key}:\n{yaml(inner, indent + 1)}")
            else:
                lines.append(f"{margin}{key}: {json.dumps(inner)}\n")
        return "".join(lines)
    if isinstance(value, list) and value:
        return "".join(f"{margin}- {json.dumps(inner)}\n" for inner in value)
    return f"{margin}{json.dumps(value)}\n"


def merged(base, changes):
    """`base` with `changes` on top, mapping by mapping. None takes a key away, here or later."""
    result = dict(base)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


DEFAULTS = {
    "hostname": "mail.example.com",
    "listen_addr": "127.0.0.1:0",
    "queue_dir": "queue",
    "local_domains": ["example.com"],
    # The tests come from 127.0.0.1 to relay and from 127.0.0.2 as strangers.
    "allowed_relays": ["127.0.0.1"],
    "delivery": {"routes": [{"domain": "*", "deliver": "discard"}]},
}


class Server:
    """`directory` is its working directory and holds configuration, queue and log."""

    def __init__(self, directory, configuration=None, variables=None, arguments=()):
        self.directory = pathlib.Path(directory)
        self.configuration = merged(DEFAULTS, configuration or {})
        self.variables = variables or {}
        self.arguments = list(arguments)
        self.process = None
        self.addresses = []
        self.starts = 0
        # Put before the command, with the descriptors that it hands on.
        self.launcher = []
        self.descriptors = ()

    @property
    def file(self):
        return self.directory / "elemta.yaml"

    def write_configuration(self):
        self.file.write_text(yaml(self.configuration))

    def launch(self):
        """Starts the process and doesn't wait for it."""
        self.write_configuration()
        self.starts += 1
        self.log_file = self.directory / f"log-{self.starts}"
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen(
                [*self.launcher, BINARY, "server", "--config", self.file, *self.arguments],
                cwd=self.directory,
                pass_fds=self.descriptors,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(self.variables),
            )
        return self

    def start(self):
        self.launch()
        until(self._is_ready_or_gone, "the log line `ready`", 30)
        if not self.addresses:
            raise AssertionError(f"ended with {self.process.returncode}:\n{self.log[-4000:]}")
        return self

    def _is_ready_or_gone(self):
        # Only whole lines: the last one may still be on its way.
        for line in self.log.split("\n")[:-1]:
            if found := re.search(r"\bready\b.*?\blisteners=(.*?)(?= \w+=|$)", line):
                self.addresses = [
                    (v6 or v4, int(port)) for v6, v4, port in LISTENER.findall(found[1])
                ]
                return True
        return self.process.poll() is not None

    @property
    def log(self):
        return self.log_file.read_text(errors="backslashreplace")

    @property
    def http_address(self):
        """Of /metrics, where the configuration has `http.listen_addr`."""
        found = re.search(r"\bready\b.*?\bhttp=(\S+?):(\d+)", self.log)
        return found[1], int(found[2])

    @property
    def address(self):
        return self.addresses[0]

    @property
    def port(self):
        return self.addresses[0][1]

    @property
    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def wait(self, seconds=30):
        """The exit status, once the process has ended by itself."""
        try:
            return self.process.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds} s:\n{self.log[-4000:]}") from None

    def stop(self):
        """SIGTERM, and exit status 0."""
        if not self.is_running and self.process.returncode == -signal.SIGKILL:
            return
        if self.is_running:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.wait()
        except AssertionError:
            self.kill()
            raise
        if status != 0:
            raise AssertionError(f"exit status {status}:\n{self.log[-8000:]}")

    def kill(self):
        if self.is_running:
            self.process.kill()
        self.process.wait()

    def run(self, *arguments, status=0, input=None):
        """`elemta ARGUMENTS --config FILE`: what it prints. The exit status must be `status`."""
        return run_elemta(
            *arguments, "--config", self.file, status=status, directory=self.directory, input=input
        )

    def queue(self):
        """What `elemta queue list --json` says: one mapping a message."""
        return [json.loads(line) for line in self.run("queue", "list", "--json").splitlines()]

    def waiting(self):
        """The messages that are still to be delivered; failed ones stay to be looked at."""
        return [message for message in self.queue() if message["state"] != "failed"]

    def until_nothing_waits(self, seconds=30):
        until(lambda: not self.waiting(), "a queue in which nothing waits", seconds)

    def resident_octets(self):
        return self._memory("VmRSS")

    def peak_octets(self):
        return self._memory("VmHWM")

    def _memory(self, key):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{key}:\s+(\d+) kB", status)[1]) * 1024


def run_elemta(*arguments, status=0, directory=None, input=None, variables=None):
    """Runs the program to its end; standard output and standard error together, as text."""
    finished = subprocess.run(
        [BINARY, *arguments],
        cwd=directory,
        env=environment(variables),
        input=input,
        stdin=subprocess.DEVNULL if input is None else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60 * PATIENCE,
        check=False,
    )
    said = finished.stdout.decode(errors="backslashreplace")
    if status is not None and finished.returncode != status:
        raise AssertionError(f"{arguments}: exit status {finished.returncode}, not {status}:\n{said}")
    return said
