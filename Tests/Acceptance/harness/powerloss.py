"""What a power loss leaves of a directory: a replay of the journal that Tests/Faults/disk.c writes.

Each file has two contents: what programs read, and what is on the disk. A sync brings the second up to the
first; a write through an O_DSYNC descriptor does so for its own octets. Names become durable by a sync of
their directory; a rename is one step. At a cut some of what wasn't synced may be on the disk all the
same: whole pages in any combination, and names in any combination.
"""

import os

from . import disk

PAGE = 4096


class File:
    def __init__(self, octets=b""):
        self.now = bytearray(octets)
        self.kept = bytearray(octets)
        self.dirty = set()
        # Dropped by a sync that failed: clean in memory, and no later sync writes them.
        self.lost = set()

    def write(self, offset, octets, is_synchronous):
        end = offset + len(octets)
        grow(self.now, end)
        self.now[offset:end] = octets
        pages = set(range(offset // PAGE, (end - 1) // PAGE + 1)) if octets else set()
        if is_synchronous:
            grow(self.kept, end)
            self.kept[offset:end] = octets
        else:
            self.dirty |= pages
            self.lost -= pages

    def resize(self, size):
        # What lies behind the shorter of both sizes is zeros from now on.
        first = min(size, len(self.now)) // PAGE
        self.now = resized(self.now, size)
        pages = set(range(first, (size + PAGE - 1) // PAGE))
        self.dirty |= pages
        self.lost -= pages

    def sync(self):
        self.kept = resized(self.kept, len(self.now))
        for page in self.dirty:
            self._keep(self.kept, page)
        self.dirty.clear()

    def drop(self):
        self.lost |= self.dirty
        self.dirty.clear()

    def _keep(self, target, page):
        octets = self.now[page * PAGE : (page + 1) * PAGE]
        if not octets:
            return  # cut off since
        grow(target, page * PAGE + len(octets))
        target[page * PAGE : page * PAGE + len(octets)] = octets

    def left(self, survives):
        """What is there after a cut."""
        left = bytearray(self.kept)
        if len(self.now) != len(self.kept) and survives():
            left = resized(left, len(self.now))
        for page in sorted(self.dirty | self.lost):
            if survives():
                self._keep(left, page)
        return left


class Directory:
    def __init__(self):
        self.now = {}
        self.kept = {}
        self.pending = []


class Step:
    """A change of names, in one directory or two: all of it is durable or nothing."""

    def __init__(self, *changes):
        self.changes = changes  # (directory, name, node or None)
        for directory in {id(change[0]): change[0] for change in changes}.values():
            directory.pending.append(self)
        for directory, name, node in changes:
            place(directory.now, name, node)

    def keep(self):
        for directory, name, node in self.changes:
            place(directory.kept, name, node)
            if self in directory.pending:
                directory.pending.remove(self)


class Replay:
    """The state of a directory after some of a journal's records, in memory and on the disk."""

    def __init__(self, base=None):
        self.root = Directory()
        self.handles = {}
        self.answered = []
        self.end = 0
        if base:
            self._load(base, self.root)

    def _load(self, path, directory):
        for entry in os.scandir(path):
            if entry.is_dir(follow_symlinks=False):
                node = Directory()
                self._load(entry.path, node)
            elif entry.is_file(follow_symlinks=False):
                with open(entry.path, "rb") as file:
                    node = File(file.read())
            else:
                continue  # a socket
            directory.now[entry.name] = directory.kept[entry.name] = node

    def find(self, path):
        """The directory that holds the name, the name, and what has it."""
        *parents, name = path.split("/")
        directory = self.root
        for parent in parents:
            directory = directory.now[parent]
        return directory, name, directory.now.get(name) if name else self.root

    def apply(self, kind, handle, number, octets, end):
        """Takes one record of the journal."""
        self.end = end
        if kind == disk.ANSWERED:
            self.answered.append(octets.decode())
        elif kind == disk.OPEN:
            self._open(handle, number, octets.decode())
        elif kind in (disk.WRITTEN, disk.SYNCED, disk.NOT_SYNCED, disk.RESIZED):
            self._change(kind, *self.handles[handle], number, octets)
        else:
            text = octets.decode()
            self._rename(kind, text[:number], text[number:])

    def _open(self, handle, flags, path):
        directory, name, node = self.find(path)
        if node is None:
            node = File()
            Step((directory, name, node))
        elif flags & os.O_TRUNC:
            node.resize(0)
        self.handles[handle] = node, bool(flags & os.O_DSYNC)

    @staticmethod
    def _change(kind, node, is_synchronous, number, octets):
        if kind == disk.WRITTEN:
            node.write(number, octets, is_synchronous)
        elif kind == disk.RESIZED:
            node.resize(number)
        elif isinstance(node, Directory):
            for step in list(node.pending) if kind == disk.SYNCED else ():
                step.keep()
        elif kind == disk.SYNCED:
            node.sync()
        else:
            node.drop()

    def _rename(self, kind, first, second):
        directory, name, node = self.find(first)
        if not name:
            pass  # the directory itself
        elif kind == disk.MADE:
            Step((directory, name, Directory()))
        elif kind in (disk.REMOVED, disk.UNLINKED):
            Step((directory, name, None))
        else:
            target, new, _ = self.find(second)
            added = (target, new, node)
            Step(added) if kind == disk.LINKED else Step((directory, name, None), added)

    def is_torn(self, name):
        """Whether a file has octets that were written and not synced."""
        node = self.root.now.get(name)
        return node is not None and bool(node.dirty)

    def write(self, path, survives):
        """Makes the directory `path` as a cut at this moment leaves it.

        `survives` is asked for each thing that wasn't synced.
        """
        names = {}
        self._collect(self.root, names, survives)
        self._write(self.root, path, names, survives)

    def _collect(self, directory, names, survives):
        """Decides for each pending step, once, in the order in which they were taken."""
        steps, seen, waiting = {}, set(), [directory]
        while waiting:
            here = waiting.pop()
            if id(here) in seen:
                continue
            seen.add(id(here))
            names[id(here)] = dict(here.kept)
            for step in here.pending:
                steps.setdefault(id(step), step)
            for node in [*here.kept.values(), *here.now.values()]:
                if isinstance(node, Directory):
                    waiting.append(node)
        for step in steps.values():
            if survives():
                for place_in, name, node in step.changes:
                    place(names.setdefault(id(place_in), dict(place_in.kept)), name, node)

    def _write(self, directory, path, names, survives):
        os.mkdir(path, 0o700)
        for name, node in names[id(directory)].items():
            if isinstance(node, Directory):
                self._write(node, f"{path}/{name}", names, survives)
            else:
                with open(f"{path}/{name}", "wb") as file:
                    file.write(node.left(survives))


def place(names, name, node):
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


def grow(octets, size):
    if len(octets) < size:
        octets.extend(bytes(size - len(octets)))


def resized(octets, size):
    return octets[:size] if size <= len(octets) else octets + bytes(size - len(octets))


def copy(source, target):
    """A directory as it is, with everything synced."""
    Replay(source).write(target, lambda: True)
