"""Keeps what documents say about finished runs: reports, metrics, figures and a table of them.

    python tools/collect_results.py --output_dir=results/digits_resnet20 runs/a runs/b runs/c
    python tools/collect_results.py --output_dir=results/digits_resnet20 --into=README.md

The first form copies each run's small files to `seed<N>/` and writes the table to `README.md`
there. With --into, the table is also put between the markers `<!-- results:begin -->` and
`<!-- results:end -->` of that document.
"""

import json
import shutil
import statistics
import sys
from pathlib import Path

from absl import app, flags

from tf_earlyticket.errors import InputError
from tf_earlyticket.paths import write_text

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
FILES = ("report.json", "config.json", "metrics.csv", "weight_statistics.json")


def collect(run_dirs: list[Path], output_dir: Path) -> None:
    """Copies the small files of finished runs to `output_dir/seed<N>`.

    Raises:
        InputError: If a directory holds no finished run, or two runs have the same seed.
    """
    reports = {}
    for run_dir in run_dirs:
        if not (run_dir / "report.json").exists():
            raise InputError(f"{run_dir}: expected the directory of a finished run.")
        seed = json.loads((run_dir / "report.json").read_text())["config"]["seed"]
        if seed in reports:
            raise InputError(
                f"{run_dir}: seed {seed} is in {reports[seed]} too; expected one each."
            )
        reports[seed] = run_dir
    for seed, run_dir in reports.items():
        target = output_dir / f"seed{seed}"
        target.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            shutil.copyfile(run_dir / name, target / name)
        shutil.copytree(run_dir / "figures", target / "figures", dirs_exist_ok=True)


def table(output_dir: Path) -> str:
    """Returns a Markdown table of the reports under `output_dir`, one row per seed and a mean."""
    paths = sorted(output_dir.glob("seed*/report.json"))
    if not paths:
        raise InputError(f"{output_dir}: expected seed*/report.json.")
    reports = sorted(
        (json.loads(path.read_text()) for path in paths), key=lambda r: r["config"]["seed"]
    )
    rows = [_row(report) for report in reports]
    mean = {
        column: statistics.mean(row[column] for row in rows)
        for column in rows[0]
        if column != "seed"
    }
    lines = [f"| {' | '.join(rows[0])} |", "|" + " --- |" * len(rows[0])]
    for row in [*rows, {"seed": "mean", **mean}]:
        lines.append(f"| {' | '.join(_text(value) for value in row.values())} |")
    return "\n".join(lines) + "\n"


def _row(report: dict) -> dict:
    dense, ticket, cost = report["dense"], report["ticket"], report["cost"]
    row = {"seed": str(report["config"]["seed"])}
    if dense is not None:
        row["dense test accuracy (%)"] = 100 * dense["test_accuracy"]
    row["ticket test accuracy (%)"] = 100 * ticket["test_accuracy"]
    row["sparsity (%)"] = 100 * ticket["sparsity"]
    row["start epoch"] = float(report["start_epoch"])
    row["of at most"] = float(report["decision"]["latest_start_epoch"])
    row["epochs in probes"] = cost["probe_epochs"]
    row["epochs in total"] = cost["total_epochs"]
    row["iterative pruning (computed)"] = cost["iterative_pruning_epochs"]
    return row


def _text(value) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if value == int(value) else f"{value:.2f}"


def insert(text: str, document: Path) -> None:
    """Puts `text` between the markers of a document.

    Raises:
        InputError: If the document lacks the markers.
    """
    content = document.read_text()
    if BEGIN not in content or END not in content:
        raise InputError(f"{document}: expected the markers {BEGIN} and {END}.")
    before, rest = content.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    write_text(document, f"{before}{BEGIN}\n{text}{END}{after}")


def main(argv: list[str]) -> None:
    """Collects, and writes the table."""
    output_dir = Path(flags.FLAGS.output_dir)
    try:
        collect([Path(name) for name in argv[1:]], output_dir)
        text = table(output_dir)
        config = json.loads(next(output_dir.glob("seed*/config.json")).read_text())
        title = f"{config['data']['name']}, {config['model']['name']}"
        commands = "".join(
            f"    {json.loads(path.read_text())['command']}\n"
            for path in sorted(output_dir.glob("seed*/report.json"))
        )
        machine = json.loads(next(output_dir.glob("seed*/report.json")).read_text())["environment"]
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
