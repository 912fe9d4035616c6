"""What was measured: one table for people, JSON for programs."""

from measuring import figures

# Figure, heading, what it is divided by, digits.
COLUMNS = (
    ("rate", "a second", 1, 0),
    ("cpu_ms", "CPU ms each", 1, 3),
    ("octets", "MiB/s", 1 << 20, 1),
    ("kib", "KiB a session", 1, 2),
    ("p50_ms", "probe p50 ms", 1, 2),
    ("p99_ms", "probe p99 ms", 1, 2),
    ("alone_p99_ms", "p99 without", 1, 2),
)
# What others are measured against where it was measured too; the figures whose ratios to it are shown, and headings.
RATIOS = {
    "smtp-sink": {"rate": "rate x sink", "cpu_ms": "CPU x sink"},
    "bare-log": {"rate": "rate x bare", "cpu_ms": "CPU x bare", "kib": "KiB x bare"},
}


def beside(target, row, rows):
    """That target's row in the same situation."""
    for other in rows:
        if other.case.target == target and other.rounds:
            if (other.case.scenario, other.case.settings) == (row.case.scenario, row.case.settings):
                return other
    return None


def ratios(target, row, rows):
    """The ratios of the medians to that target's."""
    base = beside(target, row, rows)
    if not base:
        return {}
    return {figure: row.median(figure) / base.median(figure)
            for figure in row.figures if base.values(figure) and base.median(figure)}


def table(rows):
    """Lines of text. A column in which nothing would stand isn't there."""
    measured = [row for row in rows if row.rounds]
    columns = [column for column in COLUMNS if any(column[0] in row.figures for row in measured)]
    shares = [(target, figure, heading) for target, shown in RATIOS.items() for figure, heading in shown.items()
              if any(figure in ratios(target, row, rows) for row in measured)]
    lines = [["situation", "target", *(heading for _, heading, *_ in columns), *(heading for *_, heading in shares)]]
    before = None
    for row in rows:
        situation = row.case.situation
        line = ["" if situation == before else situation, row.case.target]
        before = situation
        if row.rounds:
            for figure, _, divisor, digits in columns:
                values = [value / divisor for value in row.values(figure)]
                line.append(figures(values).text(digits) if values else "")
            found = {target: ratios(target, row, rows) for target in RATIOS}
            line += [f"{found[target][figure]:.2f}" if figure in found[target] else "" for target, figure, _ in shares]
        elif row.failure:
            line.append(None)
        lines.append(line)
    return aligned(lines) + notes(rows)


def aligned(lines):
    widths = [max(len(line[column] or "-") for line in lines if column < len(line)) for column in range(len(lines[0]))]
    texts = []
    for line in lines:
        cells = [("-" if cell is None else cell) for cell in line]
        texts.append("  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths))
        ).rstrip())
    return texts


def notes(rows):
    """Why something isn't there, each reason once."""
    reasons = {}
    for row in rows:
        if row.failure:
            reasons.setdefault((row.case.target, row.failure), []).append(row.case.situation)
    if not reasons:
        return []
    lines = ["", "Left out, or left early:"]
    for (target, reason), situations in reasons.items():
        more = f" and {len(situations) - 1} more" if len(situations) > 1 else ""
        lines.append(f"{target}: {reason} ({situations[0]}{more})")
    return lines


def as_json(row, rows):
    return {
        "scenario": row.case.scenario,
        **dict(row.case.settings),
        "target": row.case.target,
        "figures": {
            figure: {
                "median": row.median(figure),
                "min": min(row.values(figure)),
                "max": max(row.values(figure)),
                "rounds": row.values(figure),
            }
            for figure in row.figures
        },
        "ratio_to_smtp_sink": ratios("smtp-sink", row, rows),
        "ratio_to_bare_log": ratios("bare-log", row, rows),
        "failure": row.failure,
    }
