"""A disk that fails on demand and forgets: Tests/Faults/disk.c, preloaded into the server."""

import errno
import mmap
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile

from .server import ROOT

SOURCE = ROOT / "Tests/Faults/disk.c"
BUILT_FOLDER = ROOT / ".build-tools/faults"

# In the order of disk.c's enum.
CLASSES = ("write", "sync", "allocate", "rename", "unlink", "create")
# The words of `struct control`, each of 8 octets.
CALLS, MASK, SEEN, FIRST, COUNT, ERROR, FAILED, REPEATED = 0, 8, 9, 10, 11, 12, 13, 14
WORDS = 15
FOR_EVER = 2**62


def compiler():
    """Debian's, or the one that every Swift toolchain brings."""
    if found := shutil.which("cc") or shutil.which("clang"):
        return found
    beside = pathlib.Path(os.path.realpath(shutil.which("swift") or "/usr/bin/swift")).with_name("clang")
    if beside.is_file():
        return str(beside)
    raise AssertionError("no C compiler: neither cc nor the toolchain's clang")


def build(source=SOURCE):
    """The shim, built when it is older than its source. Several processes may do so at once."""
    built = BUILT_FOLDER / f"{source.stem}.so"
    if built.is_file() and built.stat().st_mtime > source.stat().st_mtime:
        return built
    built.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=built.parent) as folder:
        made = pathlib.Path(folder) / built.name
        command = [compiler(), "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        subprocess.run([*command, "-o", made, source, "-ldl", "-lpthread"], check=True)
        made.rename(built)
    return built


class Disk:
    """What lies under a server's `queue`; `variables` belong into its environment."""

    def __init__(self, directory, journal=False):
        self.root = pathlib.Path(directory).resolve() / "queue"
        control = self.root.with_name("disk-control")
        control.write_bytes(bytes(8 * WORDS))
        with open(control, "r+b") as file:
            self.words = memoryview(mmap.mmap(file.fileno(), 8 * WORDS)).cast("Q")
        self.variables = {"LD_PRELOAD": str(build()), "DISK_ROOT": str(self.root), "DISK_CONTROL": str(control)}
        self.journal = self.root.with_name("disk-journal") if journal else None
        if journal:
            self.journal.write_bytes(b"")
            self.variables["DISK_JOURNAL"] = str(self.journal)

    def fail(self, classes, first=1, count=1, error=errno.EIO):
        """From now on the calls of these classes with the numbers first, first + 1, ... fail."""
        self.words[MASK] = 0
        self.words[SEEN] = 0
        self.words[FIRST], self.words[COUNT], self.words[ERROR] = first, count, error
        self.words[MASK] = sum(1 << CLASSES.index(name) for name in classes)

    def heal(self):
        self.words[MASK] = 0

    @property
    def calls(self):
        """How many calls of each class there have been."""
        return {name: self.words[CALLS + number] for number, name in enumerate(CLASSES)}

    @property
    def failed(self):
        return self.words[FAILED]

    @property
    def repeated(self):
        """Syncs of a descriptor whose sync had failed before."""
        return self.words[REPEATED]

    def position(self):
        """Where the journal ends now."""
        return self.journal.stat().st_size


HEADER = struct.Struct("<IIQq")
OPEN, WRITTEN, SYNCED, NOT_SYNCED, RESIZED, MADE, REMOVED, UNLINKED, RENAMED, LINKED, ANSWERED = range(1, 12)


def records(journal):
    """(kind, handle, number, octets, end) of every record; `end` is where the next one begins."""
    with open(journal, "rb") as file:
        end = 0
        while len(head := file.read(HEADER.size)) == HEADER.size:
            kind, length, handle, number = HEADER.unpack(head)
            octets = file.read(length)
            if len(octets) < length:
                return  # killed within it
            end += HEADER.size + length
            yield kind, handle, number, octets, end
