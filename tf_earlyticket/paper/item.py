"""What a figure or table of the paper is: one object with its grid, cells, drawing and claims.

A file per item holds such an object. It imports neither TensorFlow nor Matplotlib before they are
used, so that the command can refuse a name at once.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_earlyticket import checks
from tf_earlyticket.config import Config
from tf_earlyticket.paper.recipes import recipe
from tf_earlyticket.registry import Registry
from tf_earlyticket.report import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tf_earlyticket.job.phases import Run

SCALES = ("paper", "small", "smoke")
# Kinds of tickets: sparsity rises along a ramp, or at once.
MODES = ("gradual", "one_shot")
PAPER_EPOCHS = 200
# Accuracies within a point of each other count as equal: seeds differ by about as much.
MARGIN = 0.01

# The content of an item's `results.json`.
Results = Mapping[str, Any]
# Whether a claim held and what was measured; None where that cannot be told.
Judged = tuple[bool, str] | None
# Header and rows.
Table = tuple[list[str], list[list[str]]]


def _varied(default: Any, text: str) -> Any:
    return field(default=default, metadata={"text": text})


@dataclass(frozen=True)
class Grid:
    """The values that the cells of an item run through; an item uses those it needs."""

    seeds: tuple[int, ...] = _varied((0,), "Seeds, one dense run each")
    mask_epochs: tuple[int, ...] = _varied((), "s, epochs (from 1) after which masks are taken")
    rewind_epochs: tuple[int, ...] = _varied(
        (), "v, epochs after which weights are taken, 0 for the initial ones"
    )
    group_sizes: tuple[int, ...] = _varied(
        (1,), "Weights along the input channels that live or die together"
    )
    examples: tuple[int, ...] = _varied((), "N, numbers of randomly labelled images")
    memorization_epochs: int = _varied(100, "Passes over the N images")
    learning_rates: tuple[float, ...] = _varied((0.1, 0.01), "Of the probes' retraining")
    prune_fraction: float = _varied(0.2, "Of the remaining weights, per iterative round")

    def check(self, epochs: int, train_examples: int) -> None:
        """Checks every value, for dense runs of `epochs` on so many examples.

        Raises:
            InputError: For the first value that cannot be used.
        """
        self.needed("seeds")
        for name, low, high in (
            ("seeds", 0, 2**31 - 1),
            ("mask_epochs", 1, epochs),
            ("rewind_epochs", 0, epochs),
            ("group_sizes", 1, None),
            ("examples", 1, train_examples),
        ):
            values = [checks.integer(name, value, low, high) for value in getattr(self, name)]
            if len(set(values)) < len(values):
                raise checks.refuse(name, values, "values that differ from each other")
            if name == "mask_epochs" and values != sorted(values):
                raise checks.refuse(name, values, "values that rise")
        checks.integer("memorization_epochs", self.memorization_epochs, 1)
        checks.number("prune_fraction", self.prune_fraction, above=0, below=1)
        for rate in self.learning_rates:
            checks.number("learning_rates", rate, above=0)

    def needed(self, name: str) -> Sequence:
        """Returns the values of that name, of which the item needs at least one.

        Raises:
            InputError: If there is none.
        """
        values = getattr(self, name)
        if not values:
            raise checks.refuse(name, values, "at least one value for this item")
        return values


@dataclass(frozen=True)
class Cell:
    """One result of a grid, independent of all others but for the dense run of its seed.

    Attributes:
        kind: What it is, in front of its name.
        seed: Of its run.
        values: What tells it from the other cells of its kind; its record has them too.
        make: Called as make(run, phase) in a run whose dense run is recorded; returns the result
            as plain values, which the run keeps as that of the phase.
        epochs: What it will cost about, for the time left.
    """

    kind: str
    seed: int
    values: Mapping[str, Any]
    make: "Callable[[Run, str], dict]" = field(compare=False)
    epochs: float = 0.0

    @property
    def phase(self) -> str:
        """The name under which its run keeps it, such as "ticket-mask_epoch=008-control=none"."""
        # Names sort as their numbers do.
        values = (
            f"{name}={value:03d}" if isinstance(value, int) else f"{name}={value}"
            for name, value in self.values.items()
        )
        return "-".join([self.kind, *values])


@dataclass(frozen=True)
class Claim:
    """What the paper says, and how to see whether the results of an item say so too.

    Attributes:
        text: A sentence without its full stop.
        check: Called as check(results), whose "summary" has rows; returns whether it held and
            what was measured, or None where cells that it needs are not finished.
        beside: Another item, whose results are `check`'s second argument; without them the claim
            is not judged.
    """

    text: str
    check: Callable[..., Judged]
    beside: str | None = None


def claim(text: str, beside: str | None = None) -> Callable[[Callable[..., Judged]], Claim]:
    """Makes the function below it the check of a `Claim`."""
    return lambda check: Claim(text, check, beside)


class Item:
    """A figure or table: what it varies, makes, measures, draws and claims.

    Make a subclass, override what differs, and give an object of it to `et.register_item`.

    Attributes:
        name: A Python identifier, for `--item` and the folder of the results.
        title: Of what is shown.
        recipe: Which config its dense runs have, see `recipes`; items with the same share them.
        grids: By scale, the values of its `Grid` that differ from the defaults; those of "small"
            and "smoke" go over those of "paper". Epochs are of the paper's 200-epoch schedule,
            whatever the config's.
        keys: Entries of its records that tell the rows of the summary apart.
        values: Entries that are measured: the summary has their spread over the seeds.
        claims: What is judged of its results.
    """

    name = ""
    title = ""
    recipe = "grid"
    grids: Mapping[str, Mapping[str, Any]] = {}
    keys: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()

    def config(self, scale: str) -> Config:
        """Returns the config of its dense runs at a scale."""
        return recipe(self.recipe, scale)

    def grid(self, scale: str, epochs: int) -> Grid:
        """Returns its default grid for a schedule of `epochs`.

        Raises:
            InputError: For an unknown scale.
        """
        checks.choice("scale", scale, SCALES)
        values = {**self.grids.get("paper", {}), **self.grids.get(scale, {})}
        for name in ("mask_epochs", "rewind_epochs"):
            values[name] = scaled_epochs(values.get(name, ()), epochs)
        return Grid(**values)

    def cells(self, config: Config, grid: Grid) -> list[Cell]:
        """Returns what is to be made besides a dense run per seed; default: nothing.

        Raises:
            InputError: If the grid lacks what the item needs, or asks for the impossible.
        """
        return []

    def looks(self, run: "Run", grid: Grid) -> Iterable[dict]:
        """Yields records of a recorded dense run, besides those of `records`; default: none."""
        return ()

    def records(
        self, finished: "Sequence[tuple[Cell, dict]]", runs: "Mapping[int, Run]", grid: Grid
    ) -> list[dict]:
        """Returns a record for each seed and row of the summary; default: those of the cells.

        Args:
            finished: Cells, the dense runs first, each with its seed, values and result.
            runs: By seed.
            grid: Of the item.
        """
        return [record for cell, record in finished if cell.kind != "dense"]

    def figures(self, results: Results) -> "dict[str, Figure]":
        """Returns the figures by file name; default: none."""
        return {}

    def table(self, results: Results) -> Table | None:
        """Returns the table; default: none."""
        return None


def check_seeds(seeds: Sequence[int]) -> None:
    """Checks the seeds of a study.

    Raises:
        InputError: If there is none, one is given twice, or one is negative.
    """
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise checks.refuse("seeds", list(seeds), "different integers of at least 0")


# In the order of the paper, then yours.
ITEMS: Registry[Item] = Registry("item")


def register_item(item: Item, *, own: bool = False) -> None:
    """Makes an item of your own known by its name, for `--item` of the reproduce command.

    Args:
        item: An object of a subclass of `tf_earlyticket.paper.item.Item`; one of the same name
            that you registered before is replaced.
        own: Whether it is the toolkit's own.

    Raises:
        InputError: If it is no item, its name is none or one of the toolkit's own, or its grids
            have values that a grid does not have.
    """
    if not isinstance(item, Item):
        raise checks.refuse("item", item, "an object of a subclass of paper.item.Item")
    if not str(item.name).isidentifier():
        raise checks.refuse("name", item.name, "a Python identifier")
    for scale, values in item.grids.items():
        checks.choice("grids", scale, SCALES)
        for name in values:
            checks.choice(f"grids[{scale!r}]", name, [known.name for known in fields(Grid)])
    ITEMS.register(item.name, item, own=own)


def check_claims(results: Mapping[str, Results]) -> list[dict]:
    """Returns the claims that can be judged from the items at hand.

    Args:
        results: Contents of `results.json` by item.

    Returns:
        {"item", "claim" (the paper's), "ours" (what was measured), "held"}, in the order of items.
    """
    judged = []
    # Nothing can be said of nothing.
    known = {item: found for item, found in results.items() if found["summary"]}
    for item, made in ((name, made) for name in ITEMS for made in ITEMS.get(name).claims):
        needed = [item] if made.beside is None else [item, made.beside]
        verdict = made.check(*map(known.get, needed)) if known.keys() >= set(needed) else None
        if verdict is not None:
            held, ours = verdict
            judged.append({"item": item, "claim": made.text, "ours": ours, "held": bool(held)})
    return judged


def scaled_epochs(paper_epochs: Sequence[int], epochs: int) -> tuple[int, ...]:
    """Returns epochs of the paper's 200-epoch schedule at the same shares of another one.

    They rise; 0 stays 0, no other becomes 0, and those that fall together appear once.
    """
    scaled = {e and min(max(1, round(e * epochs / PAPER_EPOCHS)), epochs) for e in paper_epochs}
    return tuple(sorted(scaled))


def parse_shard(text: str) -> tuple[int, int]:
    """Returns (index, count) of a shard such as "0/4", the first of four.

    Raises:
        InputError: If it is of another form, or the index is not below the count.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    index, count = map(int, match.groups()) if match else (0, 0)
    if index >= count:
        raise checks.refuse("shard", text, "i/n with 0 <= i < n, such as 0/4")
    return index, count


def grouped(rows: Iterable[Mapping], key: Callable[[Mapping], Any]) -> dict[Any, list[Mapping]]:
    """Returns rows by a function of them, in the order of the first of each group."""
    groups: dict[Any, list[Mapping]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def summarize(
    records: Iterable[Mapping[str, Any]], keys: Sequence[str], values: Sequence[str]
) -> list[dict[str, Any]]:
    """Returns a row for each combination of `keys`, sorted by them.

    Each has the keys, "seeds" (number of records) and of each of `values` "<value>_mean", "_min",
    "_max" and "_std" (of the sample; None for a single one).
    """
    groups = grouped(records, lambda record: tuple(record[key] for key in keys))
    rows = []
    for group in sorted(groups):
        members = groups[group]
        row = {**dict(zip(keys, group, strict=True)), "seeds": len(members)}
        for value in values:
            numbers = np.array([record[value] for record in members], np.float64)
            spread = {"mean": numbers.mean(), "min": numbers.min(), "max": numbers.max()}
            row |= {f"{value}_{name}": float(number) for name, number in spread.items()}
            row[f"{value}_std"] = float(numbers.std(ddof=1)) if len(members) > 1 else None
        rows.append(row)
    return rows


def means(results: Results, value: str, *keys: str, **where: Any) -> dict:
    """Returns the means of a value by the keys of their rows, which have the entries of `where`.

    Several keys make a tuple.
    """
    rows = (r for r in results["summary"] if all(r[name] == v for name, v in where.items()))
    return {
        tuple(row[k] for k in keys) if len(keys) > 1 else row[keys[0]]: row[f"{value}_mean"]
        for row in rows
    }


def gains(before: Mapping, after: Mapping) -> dict:
    """Returns how much greater the values of `after` are, where both have one, by sorted keys."""
    return {key: after[key] - before[key] for key in sorted(set(before) & set(after))}


def describe(results: Results) -> str:
    """Returns what an item was run on: network, data, sparsity and seeds."""
    config, seeds = results["config"], len(results["grid"]["seeds"])
    examples = config["data"]["train_examples"]
    data = config["data"]["name"] + (f" ({examples:,} images)" if examples else "")
    return (
        f"{config['model']['name']} on {data}, {100 * config['pruning']['final_sparsity']:g} % "
        f"sparse, {seeds} seed{'s' * (seeds > 1)}"
    )


def percent(value: float) -> str:
    """Returns a fraction in percent, with one digit."""
    return f"{100 * value:.1f} %"


def spread_text(row: Mapping[str, Any], value: str, scale: float = 100) -> str:
    """Returns "mean (min to max)" of a summary row's value, only the mean of a single one."""
    mean, low, high = (scale * row[f"{value}_{name}"] for name in ("mean", "min", "max"))
    return f"{mean:.2f}" if row["seeds"] == 1 else f"{mean:.2f} ({low:.2f} to {high:.2f})"


def crossed(
    rows: Sequence[Mapping], keys: Sequence[str], across: str, value: str
) -> tuple[list, list[tuple[tuple, list[str]]]]:
    """Returns the values of `across`, and for each value of `keys` the texts under them."""
    columns, lines = sorted({row[across] for row in rows}), []
    for line, members in sorted(grouped(rows, lambda row: tuple(map(row.get, keys))).items()):
        texts = {row[across]: spread_text(row, value) for row in members}
        lines.append((line, [texts.get(column, "-") for column in columns]))
    return columns, lines


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def heat_map(
    title: str,
    rows: Sequence[Mapping],
    x: tuple[str, str],
    y: tuple[str, str],
    value: str,
    scale: float = 100,
) -> "Figure":
    """Draws means of a summary as a map, the number in each cell; missing cells stay empty.

    The axes are given by key and label; `scale` is the factor of the numbers, 100 for percent.
    """
    columns, lines = (sorted({row[key] for row in rows}) for key in (x[0], y[0]))
    figure = drawing.new_figure(1.4 + 0.34 * max(len(lines), 3), title)
    axes = figure.subplots()
    axes.set_xlabel(x[1], fontsize=drawing.NORMAL)
    axes.set_ylabel(y[1], fontsize=drawing.NORMAL)
    if not rows:
        drawing.nothing(axes)
        return figure
    values = np.full((len(lines), len(columns)), np.nan)
    for row in rows:
        values[lines.index(row[y[0]]), columns.index(row[x[0]])] = scale * row[f"{value}_mean"]
    image = axes.imshow(values, cmap="viridis", aspect="auto", origin="lower")
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for (line, column), number in np.ndenumerate(values):
        if not np.isnan(number):
            colour = "white" if number < middle else drawing.INK
            look = {"ha": "center", "va": "center", "fontsize": drawing.SMALL, "color": colour}
            axes.text(column, line, f"{number:.3f}" if scale == 1 else f"{number:.1f}", **look)
    axes.set_xticks(range(len(columns)), [str(value) for value in columns])
    axes.set_yticks(range(len(lines)), [str(value) for value in lines])
    axes.tick_params(labelsize=drawing.SMALL)
    figure.colorbar(image, ax=axes, pad=0.02).ax.tick_params(labelsize=drawing.SMALL)
    return figure


_COLOURS = (drawing.BLUE, drawing.VERMILLION, drawing.GREEN, "#CC79A7", "#E69F00", "#56B4E9")


def curves(
    title: str,
    series: Mapping[str, tuple[str, Sequence[Mapping]]],
    x: tuple[str, str],
    y_label: str,
) -> "Figure":
    """Draws means in percent as lines, with bands from the least to the greatest seed.

    Args:
        title: Above it.
        series: By label, the value that is drawn and the rows of a summary.
        x: Key and label of the horizontal axis.
        y_label: Label of the vertical axis.
    """
    figure, axes = drawing.new_axes(4, title, x[1], y_label)
    if not any(rows for _, rows in series.values()):
        drawing.nothing(axes)
        return figure
    looks = zip(itertools.cycle(_COLOURS), itertools.cycle("os^Dvp"), strict=False)
    for (label, (value, rows)), (colour, marker) in zip(series.items(), looks, strict=False):
        band(axes, rows, x[0], value, label, colour, f"{marker}-")
    drawing.legend(figure, 2)
    return figure


def band(
    axes: "Axes", rows: Sequence[Mapping], x: str, value: str, label: str, colour: str, form: str
) -> None:
    """Draws means of a summary over its key `x` in percent; where seeds differ, with a band.

    `form` is marker and line as Matplotlib has it.
    """
    at = [row[x] for row in rows]
    mean, low, high = (
        [100 * row[f"{value}_{name}"] for row in rows] for name in ("mean", "min", "max")
    )
    axes.plot(at, mean, form, label=label, color=colour, markersize=4, linewidth=1.5)
    if any(row["seeds"] > 1 for row in rows):
        axes.fill_between(at, low, high, color=colour, alpha=0.16, linewidth=0)
