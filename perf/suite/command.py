"""The command line of `perf/run`: what is chosen, measured, printed and judged."""

import argparse
import json
import pathlib
import time

from measuring import describe_machine, raise_descriptor_limit
from harness.server import BINARY, ROOT

from . import thresholds
from .accept import Accept
from .bare import BareLog
from .case import Bench
from .drain import Drain
from .growth import Growth
from .handshakes import Handshakes
from .held import HELD
from .rounds import Row, measure, progress
from .table import as_json, table
from .targets import TARGETS

SCENARIOS = {scenario.name: scenario for scenario in (Accept(), *HELD, Handshakes(), Drain(), Growth())}

# Rounds of a scenario where it isn't said how many; those that take long, and all with --quick, have fewer.
ROUNDS, ROUNDS_OF_LONG = 3, 2
LONG = {held.name for held in HELD} | {"drain"}
SECONDS = 1.2
# With --quick.
QUICK_MESSAGES = 5_000

EPILOG = """\
Without a name every scenario is measured:
""" + "".join(f"  {name:18} {scenario.summary}\n" for name, scenario in SCENARIOS.items()) + """
  perf/run --quick --check                                   the goals of perf/thresholds.json, roughly
  perf/run accept --sessions 20 --size 1024 --reuse          one situation
  perf/run accept idle --targets elemta,smtp-sink --json perf.json
"""


def numbers(least, most):
    """A list of numbers, with commas between them."""

    def parse(text):
        found = [int(word) for word in text.split(",")]
        if not all(least <= number <= most for number in found):
            raise argparse.ArgumentTypeError(f"from {least} to {most}")
        return found

    return parse


def names(known):
    def parse(text):
        found = text.split(",")
        if unknown := [name for name in found if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join(known)}")
        return found

    return parse


def number(least, most, kind=int):
    def parse(text):
        if not least <= kind(text) <= most:
            raise argparse.ArgumentTypeError(f"from {least} to {most}")
        return kind(text)

    return parse


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="perf/run", description="Measures Elemta beside other servers, in the same run and in turn.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenarios", nargs="*", metavar="scenario", help="by name; all of them otherwise")
    parser.add_argument("--targets", type=names(TARGETS), help=f"of {','.join(TARGETS)}")
    parser.add_argument("--sessions", type=numbers(1, 100_000), help="such as 20,100; instead of the scenario's own")
    parser.add_argument("--size", type=numbers(1, 16 << 20), help="octets a message, such as 1024,10240")
    connections = parser.add_mutually_exclusive_group()
    connections.add_argument("--reuse", dest="reuse", action="store_const", const=[True],
                             help="many messages a connection, and nothing else")
    connections.add_argument("--new", dest="reuse", action="store_const", const=[False],
                             help="a new connection for each message, and nothing else")
    parser.add_argument("--messages", type=numbers(100, 200_000), help="that are drained")
    parser.add_argument("--rounds", type=number(1, 50), help=f"of each target ({ROUNDS}; {ROUNDS_OF_LONG} of what is long)")
    parser.add_argument("--seconds", type=number(0.1, 30, float), default=SECONDS,
                        help=f"that a round of sending lasts, about ({SECONDS})")
    parser.add_argument("--quick", action="store_true", help="only what thresholds.json is about, in few rounds")
    parser.add_argument("--check", action="store_true", help="exit status 1 if a goal is missed by more than the noise")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the results there")
    parser.add_argument("--list", action="store_true", help="only print what would be measured")
    parser.add_argument("--directory", default=ROOT / ".build-perf", type=pathlib.Path, help="where the queues lie")
    chosen = parser.parse_args(arguments)
    chosen.directory.mkdir(parents=True, exist_ok=True)
    if unknown := [name for name in chosen.scenarios if name not in SCENARIOS]:
        parser.error(f"{unknown[0]} is none of {', '.join(SCENARIOS)}")
    if chosen.json and not chosen.json.resolve().parent.is_dir():
        parser.error(f"{chosen.json.parent} isn't there")
    return chosen


def plan(arguments, goals):
    """Pairs of a scenario and a group of cases that are measured in turn."""
    for name in arguments.scenarios or SCENARIOS:
        scenario = SCENARIOS[name]
        own = dict(scenario.options)
        for option in own:
            if getattr(arguments, option, None) is not None:
                own[option] = getattr(arguments, option)
        if arguments.quick and "messages" in own and arguments.messages is None:
            own["messages"] = [QUICK_MESSAGES]
        targets = [target for target in scenario.targets if not arguments.targets or target in arguments.targets]
        for group in scenario.groups(own, targets):
            if arguments.quick:
                # No goal is about the limit, but it says how near a goal is that can't be reached.
                wanted = {case for case in group if any(goal.concerns(case) for goal in goals)}
                group = [case for case in group if case in wanted or (wanted and case.target == BareLog.name)]
            if group:
                yield scenario, group


def rounds_of(scenario, arguments):
    if arguments.rounds:
        return arguments.rounds
    return ROUNDS_OF_LONG if arguments.quick or scenario.name in LONG else ROUNDS


def without_absent(groups):
    """The groups without targets that aren't on this machine, and rows for these that say why."""
    reasons = {name: reason for name, target in TARGETS.items() if (reason := target.missing())}
    present, absent = [], []
    for scenario, group in groups:
        absent += [Row(case, reasons[case.target]) for case in group if case.target in reasons]
        if kept := [case for case in group if case.target not in reasons]:
            present.append((scenario, kept))
    for name in sorted({row.case.target for row in absent}):
        progress(f"{name} is left out: {reasons[name]}.")
    return present, absent


def main(arguments=None):
    arguments = parse(arguments)
    goals = thresholds.load()
    groups = list(plan(arguments, goals))
    if not groups:
        raise SystemExit("Nothing is measured so.")
    if arguments.list:
        for scenario, group in groups:
            for case in group:
                print(f"{case.situation}, {case.target}, rounds: {rounds_of(scenario, arguments)}")
        return 0
    groups, absent = without_absent(groups)
    raise_descriptor_limit()
    bench = Bench(arguments.directory, arguments.seconds)
    began, when = time.monotonic(), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    rows = []
    for scenario, group in groups:
        rows += measure(scenario, group, rounds_of(scenario, arguments), bench)
    machine = describe_machine(arguments.directory)
    print(f"{machine}; {BINARY}; {when}, {(time.monotonic() - began) / 60:.1f} min; median (min..max) of the rounds\n")
    print("\n".join(table(rows)))
    verdicts = [verdict for goal in goals if (verdict := goal.judge(rows + absent))]
    if verdicts:
        print("\nGoals:")
        print("\n".join(verdict.text() for verdict in verdicts))
    if arguments.json:
        arguments.json.write_text(json.dumps({
            "machine": machine,
            "binary": str(BINARY),
            "began": when,
            "seconds": time.monotonic() - began,
            "absent": {row.case.target: row.failure for row in absent},
            "results": [as_json(row, rows) for row in rows],
            "thresholds": [verdict.as_json() for verdict in verdicts],
        }, indent=1) + "\n")
    return check(verdicts) if arguments.check else 0


def check(verdicts):
    """The exit status; why it isn't 0 stands below the table already."""
    bad = sum(verdict.is_bad for verdict in verdicts)
    if bad or not verdicts:
        progress(f"{bad} of {len(verdicts)} goals are missed." if bad else "No goal is about what was measured.")
        return 1
    return 0
