"""The goals of `thresholds.json`, and whether they are met.

What is judged is a median, or the ratio of two medians. The noise is half of what lies between the least and the most
of the rounds' values, or of the ratios of each round to the other's of the same number: they were measured one after
the other. A goal is missed if the value is on its wrong side by more than that. Noise above a tenth of the goal counts
as a tenth, as does that of a single round: a restless machine excuses nothing more.
"""

import json
import pathlib
import statistics

FILE = pathlib.Path(__file__).resolve().parent.parent / "thresholds.json"
NOISE_AT_MOST = 0.1


class Threshold:
    def __init__(self, entry):
        self.name, self.figure = entry["name"], entry["figure"]
        self.of = entry["of"]
        self.against = self.of | entry["against"] if "against" in entry else None
        self.is_least = "at_least" in entry
        self.limit = entry["at_least" if self.is_least else "at_most"]

    def concerns(self, case):
        return case.fits(self.of) or bool(self.against and case.fits(self.against))

    def judge(self, rows):
        """The verdict; None if nothing that it is about was to be measured."""
        ours = [row for row in rows if row.case.fits(self.of)]
        if not ours:
            return None
        theirs = [row for row in rows if self.against and row.case.fits(self.against)]
        if self.against and not theirs:
            return None
        used = ours[:1] + theirs[:1]
        for row in used:
            if not row.values(self.figure):
                return Verdict(self, reason=f"{row.case.target}: {row.failure}")
        values = ours[0].values(self.figure)
        value = statistics.median(values)
        if theirs:
            others = theirs[0].values(self.figure)
            value /= statistics.median(others)
            values = [mine / other for mine, other in zip(values, others)]
        noise = NOISE_AT_MOST * self.limit
        if len(values) > 1:
            noise = min((max(values) - min(values)) / 2, noise)
        return Verdict(self, value, noise)


class Verdict:
    """`value` is None if there is none, for `reason`."""

    def __init__(self, threshold, value=None, noise=0.0, reason=None):
        self.threshold, self.value, self.noise, self.reason = threshold, value, noise, reason

    @property
    def word(self):
        if self.value is None:
            return "not measured"
        # How far on the wrong side it is.
        wrong = self.value - self.threshold.limit
        if self.threshold.is_least:
            wrong = -wrong
        if wrong <= 0:
            return "met"
        return "within the noise" if wrong <= self.noise else "missed"

    @property
    def is_bad(self):
        return self.word in ("missed", "not measured")

    def text(self):
        goal = f"at {'least' if self.threshold.is_least else 'most'} {self.threshold.limit:g}"
        found = f": {self.reason}" if self.value is None else f": {self.value:.3g} (noise {self.noise:.2g})"
        return f"{self.word:16}  {self.threshold.name}, {goal}{found}"

    def as_json(self):
        return {
            "name": self.threshold.name,
            "at_least" if self.threshold.is_least else "at_most": self.threshold.limit,
            "value": self.value,
            "noise": self.noise,
            "verdict": self.word,
            "reason": self.reason,
        }


def load():
    return [Threshold(entry) for entry in json.loads(FILE.read_text())]
