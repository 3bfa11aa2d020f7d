"""Keeps what documents say about finished runs: reports, metrics, figures and a table of them.

    python tools/collect_results.py --output_dir=results/digits_resnet20 runs/a runs/b runs/c
    python tools/collect_results.py --output_dir=results/digits_resnet20 --into=README.md
    python tools/collect_results.py --output_dir=results/digits_keras3 jax=runs/a tensorflow=runs/b

The first form copies each run's small files to `seed<N>/` and writes the table to `README.md`
there; the third to folders of the given names, for runs that differ in more than their seed. With
--into, the table is also put between the markers `<!-- results:begin -->` and
`<!-- results:end -->` of that document.
"""

import json
import shutil
import statistics
import sys
from pathlib import Path

from absl import app, flags

from tf_earlyticket.errors import InputError
from tf_earlyticket.files import write_text

FILES = ("report.json", "config.json", "metrics.csv", "weight_statistics.json")


def collect(run_dirs: dict[str, Path] | list[Path], output_dir: Path) -> None:
    """Copies the small files of finished runs to `output_dir/<name>`.

    Args:
        run_dirs: By name, or a list: then the names are `seed<N>`.
        output_dir: Where to.

    Raises:
        InputError: If a directory holds no finished run, or two runs have the same seed.
    """
    named = {}
    for given, run_dir in run_dirs.items() if isinstance(run_dirs, dict) else _unnamed(run_dirs):
        if not (run_dir / "report.json").exists():
            raise InputError(f"{run_dir}: expected the directory of a finished run.")
        seed = json.loads((run_dir / "report.json").read_text())["config"]["seed"]
        name = given or f"seed{seed}"
        if name in named:
            raise InputError(f"{run_dir}: seed {seed} is in {named[name]} too; expected one each.")
        named[name] = run_dir
    for name, run_dir in named.items():
        target = output_dir / name
        target.mkdir(parents=True, exist_ok=True)
        for file in FILES:
            shutil.copyfile(run_dir / file, target / file)
        shutil.copytree(run_dir / "figures", target / "figures", dirs_exist_ok=True)


def _unnamed(run_dirs: list[Path]) -> list[tuple[None, Path]]:
    return [(None, run_dir) for run_dir in run_dirs]


def reports_in(output_dir: Path) -> dict[str, dict]:
    """Returns the reports under `output_dir` by folder, in the order of seeds and names.

    Raises:
        InputError: If there is none.
    """
    reports = {
        path.parent.name: json.loads(path.read_text()) for path in output_dir.glob("*/report.json")
    }
    if not reports:
        raise InputError(f"{output_dir}: expected seed*/report.json.")
    return dict(sorted(reports.items(), key=lambda item: (item[1]["config"]["seed"], item[0])))


def table(output_dir: Path) -> str:
    """Returns a Markdown table of the reports under `output_dir`: a row each; of seeds, a mean.

    What no run has is no column, what one lacks a dash, and the mean is of the others.
    """
    reports = reports_in(output_dir)
    of_seeds = all(name.startswith("seed") for name in reports)
    names = [str(r["config"]["seed"]) if of_seeds else name for name, r in reports.items()]
    rows = [_row(report) for report in reports.values()]
    known = {c: [row[c] for row in rows if row[c] is not None] for c in rows[0]}
    columns = [column for column, values in known.items() if values]
    if of_seeds:
        names.append("mean")
        rows.append({column: statistics.mean(known[column]) for column in columns})
    title = "seed" if of_seeds else "run"
    lines = [f"| {' | '.join([title, *columns])} |", "|" + " --- |" * (len(columns) + 1)]
    for name, row in zip(names, rows, strict=True):
        lines.append(f"| {' | '.join([name, *(_text(row[column]) for column in columns)])} |")
    return "\n".join(lines) + "\n"


def _row(report: dict) -> dict[str, float | None]:
    dense, ticket, cost = report["dense"], report["ticket"], report["cost"]
    row: dict[str, float | None] = {}
    row["dense test accuracy (%)"] = None if dense is None else 100 * dense["test_accuracy"]
    row["ticket test accuracy (%)"] = 100 * ticket["test_accuracy"]
    row["sparsity (%)"] = 100 * ticket["sparsity"]
    row["start epoch"] = report["start_epoch"]
    row["of at most"] = report["decision"]["latest_start_epoch"]
    row["epochs in probes"] = cost["probe_epochs"]
    row["epochs in total"] = cost["total_epochs"]
    row["iterative pruning (computed)"] = cost["iterative_pruning_epochs"]
    return row


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value == int(value) else f"{value:.2f}"


def insert(text: str, document: Path, name: str = "results") -> None:
    """Puts `text` between the markers of a document.

    Raises:
        InputError: If the document lacks the markers.
    """
    content = document.read_text()
    begin, end = (f"<!-- {name}:{place} -->" for place in ("begin", "end"))
    if begin not in content or end not in content:
        raise InputError(f"{document}: expected the markers {begin} and {end}.")
    before, rest = content.split(begin, 1)
    after = rest.split(end, 1)[1]
    write_text(document, f"{before}{begin}\n{text}{end}{after}")


def _run_dirs(arguments: list[str]) -> dict[str, Path] | list[Path]:
    if not any("=" in argument for argument in arguments):
        return [Path(argument) for argument in arguments]
    pairs = [argument.partition("=") for argument in arguments]
    if not all(name and run_dir for name, _, run_dir in pairs):
        raise InputError(f"{' '.join(arguments)}: expected NAME=RUN everywhere, or nowhere.")
    return {name: Path(run_dir) for name, _, run_dir in pairs}


def main(argv: list[str]) -> None:
    """Collects, and writes the table."""
    output_dir = Path(flags.FLAGS.output_dir)
    try:
        collect(_run_dirs(argv[1:]), output_dir)
        text = table(output_dir)
        reports = list(reports_in(output_dir).values())
        config, machine = reports[0]["config"], reports[0]["environment"]
        title = f"{config['data']['name']}, {config['model']['name']}"
        commands = "".join(f"    {report['command']}\n" for report in reports)
        write_text(
            output_dir / "README.md",
            f"# {title}\n\nWritten by `tools/collect_results.py` from the reports beside this "
            f"file.\n\n{text}\nMachine: {machine['cpu_count']} CPU cores ({machine['machine']}), "
            f"strategy {machine['strategy']}. Commands:\n\n{commands}",
        )
        if flags.FLAGS.into:
            insert(text, Path(flags.FLAGS.into))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    flags.DEFINE_string("output_dir", None, "Where the results are kept", required=True)
    flags.DEFINE_string("into", None, "A document with markers that gets the table")
    app.run(main)
