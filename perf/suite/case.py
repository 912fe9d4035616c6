"""What is measured, and where: a case is one target in one situation of one scenario."""

import contextlib
import pathlib
import shutil
import tempfile
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """`settings` are pairs of a name and a value, such as ("sessions", 20)."""

    scenario: str
    settings: tuple
    target: str

    def __getitem__(self, name):
        return dict(self.settings)[name]

    def fits(self, wanted):
        """Whether it has all of these values; `wanted` may name the scenario and the target too."""
        mine = {"scenario": self.scenario, "target": self.target, **dict(self.settings)}
        return all(name in mine and mine[name] == value for name, value in wanted.items())

    @property
    def situation(self):
        words = []
        for name, value in self.settings:
            if name == "size":
                words.append(octets_in_words(value))
            elif name == "reuse":
                words.append("reuse" if value else "new connections")
            elif isinstance(value, str):
                words.append(value)
            else:
                words.append(f"{value:,} {name if value != 1 else name.removesuffix('s')}")
        return f"{self.scenario}: {', '.join(words)}"


def octets_in_words(octets):
    for unit, name in (1 << 20, "MiB"), (1 << 10, "KiB"):
        if octets >= unit and octets % unit == 0:
            return f"{octets // unit} {name}"
    return f"{octets} octets"


def cases(scenario, targets, **settings):
    """One for each target, in the same situation."""
    return [Case(scenario, tuple(settings.items()), target) for target in targets]


class Bench:
    """Where the queues lie, and how long a round lasts."""

    def __init__(self, directory, seconds):
        self.directory = directory
        self.seconds = seconds

    @contextlib.contextmanager
    def folder(self):
        made = tempfile.mkdtemp(dir=self.directory)
        try:
            yield pathlib.Path(made)
        finally:
            shutil.rmtree(made, ignore_errors=True)
