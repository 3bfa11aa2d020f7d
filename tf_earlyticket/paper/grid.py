"""What each figure and table of the paper varies, and its epochs on a shorter schedule."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tf_earlyticket.errors import InputError, suggestion
from tf_earlyticket.pruning.schedule import check_integer, check_number

ITEMS = (
    "fig1",
    "fig2",
    "fig3",
    "fig4",
    "fig5",
    "fig6",
    "fig8",
    "table1",
    "table2",
    "table3",
    "table4",
    "table5",
)
SCALES = ("paper", "small", "smoke")
PAPER_EPOCHS = 200


@dataclasses.dataclass(frozen=True)
class Grid:
    """The values that the cells of an item run through; an item uses those it needs.

    Attributes:
        seeds: Each is a dense run of its own.
        mask_epochs: s, epochs (from 1) after which the mask is taken.
        rewind_epochs: v, epochs after which the weights are taken; 0 are the initial ones.
        group_sizes: Weights along the input channels that live or die together.
        examples: N, numbers of randomly labelled images.
        memorization_epochs: Passes over these images.
        learning_rates: Of the probes' retraining.
        prune_fraction: Part of the remaining weights that a round of iterative pruning removes.
    """

    seeds: tuple[int, ...] = (0,)
    mask_epochs: tuple[int, ...] = ()
    rewind_epochs: tuple[int, ...] = ()
    group_sizes: tuple[int, ...] = (1,)
    examples: tuple[int, ...] = ()
    memorization_epochs: int = 100
    learning_rates: tuple[float, ...] = (0.1, 0.01)
    prune_fraction: float = 0.2


# Epochs of the paper's 200-epoch schedule. Numbers of images and the choice of the epochs between
# those that the text names are ours: the paper's tables are not part of its text.
_PAPER: dict[str, dict[str, Any]] = {
    "fig1": {
        "mask_epochs": (20, 40, 60, 80, 100, 120, 160, 200),
        "rewind_epochs": (0, 5, 20, 60, 100, 200),
    },
    "fig2": {},
    "fig3": {"mask_epochs": tuple(range(20, 201, 20))},
    "fig4": {},
    "fig5": {
        "mask_epochs": (20, 60, 100, 120, 200),
        "examples": (2_000, 5_000, 10_000, 20_000, 40_000),
        "seeds": tuple(range(10)),
    },
    "fig6": {"learning_rates": (0.01,)},
    "fig8": {
        "mask_epochs": (20, 40, 60, 80, 100, 120, 160, 200),
        "rewind_epochs": (0, 5, 20, 60, 100, 200),
        "group_sizes": (8,),
    },
    "table1": {
        "mask_epochs": (20, 40, 60, 80),
        "examples": (5_000, 10_000, 20_000),
        "seeds": tuple(range(10)),
    },
    "table2": {
        "mask_epochs": (20, 50, 75, 100, 120),
        "rewind_epochs": (20,),
        "seeds": tuple(range(10)),
    },
    "table3": {"mask_epochs": (45, 90, 100, 135), "rewind_epochs": (12,), "seeds": (0, 1, 2)},
    "table4": {"rewind_epochs": (5,)},
    "table5": {
        "mask_epochs": (120,),
        "group_sizes": (1, 2, 4, 8, 16),
        "examples": (5_000, 10_000, 20_000),
        "seeds": tuple(range(10)),
    },
}
_SMALL: dict[str, dict[str, Any]] = {
    "fig1": {"mask_epochs": (20, 60, 100, 140, 200), "rewind_epochs": (0, 20, 200)},
    "fig8": {"mask_epochs": (20, 60, 100, 140, 200), "rewind_epochs": (0, 20, 200)},
    "table2": {"mask_epochs": (20, 60, 100, 140, 160), "seeds": (0, 1, 2)},
    "table1": {"mask_epochs": (20, 60, 100, 140), "seeds": (0, 1, 2)},
    "fig5": {"mask_epochs": (20, 120, 200), "seeds": (0, 1, 2)},
    "table4": {"rewind_epochs": (20,)},
    "table5": {"seeds": (0, 1, 2), "group_sizes": (1, 4, 8, 16)},
}
_SMALL_EXAMPLES = {"examples": (1_000, 2_000, 4_000), "memorization_epochs": 60}
_SMOKE: dict[str, dict[str, Any]] = {
    "fig1": {"mask_epochs": (50, 200), "rewind_epochs": (0,)},
    "fig3": {"mask_epochs": (50, 100, 150, 200)},
    "fig5": {"mask_epochs": (50, 200), "seeds": (0, 1)},
    "fig8": {"mask_epochs": (50, 200), "rewind_epochs": (0,), "group_sizes": (4,)},
    "table1": {"mask_epochs": (50, 100, 150, 200), "seeds": (0,), "examples": (128,)},
    "table2": {"mask_epochs": (50, 150), "seeds": (0,), "rewind_epochs": (0,)},
    "table3": {"mask_epochs": (50, 150), "seeds": (0,), "rewind_epochs": (0,)},
    "table4": {"prune_fraction": 0.6, "rewind_epochs": (0,)},
    "table5": {"seeds": (0,), "group_sizes": (1, 8), "examples": (128,)},
}
_SMOKE_EXAMPLES = {"examples": (64, 128), "memorization_epochs": 4}


def scaled_epochs(paper_epochs: Sequence[int], epochs: int) -> tuple[int, ...]:
    """Returns epochs of the paper's 200-epoch schedule at the same shares of another one.

    Args:
        paper_epochs: From 0 to 200; 0 stays 0, and no other becomes 0.
        epochs: Length of the other schedule, >= 1.

    Returns:
        Rising epochs; those that fall together appear once.
    """
    scaled = {min(max(1, round(e * epochs / PAPER_EPOCHS)), epochs) if e else 0
              for e in paper_epochs}  # fmt: skip
    return tuple(sorted(scaled))


def default_grid(item: str, scale: str, epochs: int) -> Grid:
    """Returns the grid of an item, its epochs in proportion to a schedule of `epochs`.

    Args:
        item: One of `ITEMS`.
        scale: One of `SCALES`.
        epochs: Of the config's schedule.

    Raises:
        InputError: For an unknown item or scale.
    """
    check_item(item, scale)
    values = dict(_PAPER[item])
    if scale != "paper":
        few, examples = {"small": (_SMALL, _SMALL_EXAMPLES), "smoke": (_SMOKE, _SMOKE_EXAMPLES)}[
            scale
        ]
        if "examples" in values:
            values |= examples
        values |= few.get(item, {})
    for name in ("mask_epochs", "rewind_epochs"):
        if name in values:
            values[name] = scaled_epochs(values[name], epochs)
    return Grid(**values)


def check_item(item: str, scale: str) -> None:
    """Checks the names of an item and a scale.

    Raises:
        InputError: If one is unknown.
    """
    for name, value, accepted in (("item", item, ITEMS), ("scale", scale, SCALES)):
        if value not in accepted:
            raise InputError(
                f"{name}={value!r}: expected one of {', '.join(accepted)}."
                f"{suggestion(str(value), accepted)}"
            )


def replaced(grid: Grid, values: Mapping[str, Any]) -> Grid:
    """Returns the grid with some of its values replaced; None leaves one as it is."""
    given = {name: value for name, value in values.items() if value is not None}
    return dataclasses.replace(grid, **given)


def check_grid(grid: Grid, epochs: int, train_examples: int) -> None:
    """Checks every value of a grid.

    Args:
        grid: What to check.
        epochs: Of the dense run.
        train_examples: Of the data set.

    Raises:
        InputError: For the first value that cannot be used.
    """
    if not grid.seeds:
        raise InputError("seeds must hold at least one, got none")
    bounds = {
        "seeds": (0, 2**31 - 1),
        "mask_epochs": (1, epochs),
        "rewind_epochs": (0, epochs),
        "group_sizes": (1, None),
        "examples": (1, train_examples),
    }
    for name, (low, high) in bounds.items():
        values = getattr(grid, name)
        for value in values:
            check_integer(name, value, low)
            if high is not None and value > high:
                raise InputError(f"{name} must be <= {high}, got {value}")
        if len(set(values)) < len(values):
            raise InputError(f"{name} must differ from each other, got {list(values)}")
    check_integer("memorization_epochs", grid.memorization_epochs, 1)
    check_number("prune_fraction", grid.prune_fraction, 0, 1, open_low=True)
    for rate in grid.learning_rates:
        check_number("learning_rates", rate, 0, float("inf"), open_low=True)
