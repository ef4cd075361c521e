"""The page: results as a table, with the machine and the command they come from."""

from stats import coverage, estimate
from targets import NAMES, OURS, ratio, verdict

BEGIN, END = "<!-- bench/run writes from here -->", "<!-- bench/run writes to here -->"
ORDER = ("relay", "nginx", "haproxy", "h2o", "nghttpx", OURS)


def _figures(found):
    if found is None:
        return "–"
    digits = 0 if abs(found.median) >= 1000 else 1 if abs(found.median) >= 10 else 2
    return f"{found.median:.{digits}f} ({found.low:.{digits}f}–{found.high:.{digits}f})"


def _ratios(found):
    return "–" if found is None else f"{found.median:.2f} ({found.low:.2f}–{found.high:.2f})"


def _is_cost(work):
    return work.unit == "µs" and len(work.peers) > 1


def _row(work, results, peers):
    values = {peer: estimate([v for v in results.get(peer, ()) if v is not None]) for peer in peers}
    cells = [f"{work.title}, {work.unit}", *(_figures(values[peer]) for peer in peers)]
    cells += [_ratios(ratio(results, peer)) if _is_cost(work) else "–" for peer in ("nginx", "haproxy")]
    cells.append("; ".join(target.text(work.unit) for target in work.targets))
    cells.append("; ".join(verdict(target, results) for target in work.targets))
    return "| " + " | ".join(cells) + " |"


def table(measured):
    """Markdown of [(Work, results)]. Each figure is a median with its interval in brackets."""
    peers = [peer for peer in ORDER if any(_any(results.get(peer)) for _, results in measured)]
    heads = ["work", *(NAMES[peer] for peer in peers), "Merlon / nginx", "Merlon / HAProxy", "target", "verdict"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join(lines + [_row(work, results, peers) for work, results in measured])


def _any(values):
    return any(value is not None for value in values or ())


def page(measured, facts, failures):
    """The whole generated part. `facts` are (name, text) of the run, `failures` sentences."""
    rounds = sorted({len(values) for _, results in measured for values in results.values()})
    holds = "; ".join(f"{n} rounds: {coverage(n):.0%}" for n in rounds if n > 1)
    parts = [
        "\n".join(f"- {name}: {text}" for name, text in facts),
        table(measured),
        "µs are CPU time of the proxy's process tree for each request. In brackets an interval for the median,\n"
        f"from order statistics; how surely it holds the true one: {holds or 'with one round not at all'}.\n"
        "Ratios are taken round by round. A verdict is `open` where the interval has the target inside.",
    ]
    if failures:
        parts.append("Not measured:\n\n" + "\n".join(f"- {text}" for text in failures))
    return "\n\n".join(parts)


def write_into(path, text):
    """Puts `text` between the marks in the file, and leaves the rest as it is."""
    old = path.read_text()
    if BEGIN not in old or END not in old:
        raise ValueError(f"{path} has no lines {BEGIN!r} and {END!r} to write between")
    head, tail = old.split(BEGIN)[0], old.split(END)[1]
    path.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}")
