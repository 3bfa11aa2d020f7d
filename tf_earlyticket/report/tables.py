"""Tables for people: Markdown, and the same as a picture."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from tf_earlyticket.report import drawing

Cells = Sequence[Sequence[str]]


def markdown_table(header: Sequence[str], rows: Cells) -> str:
    """Returns a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def draw_table(title: str, header: Sequence[str], rows: Cells) -> Figure:
    """Draws a table; its columns are as wide as their texts need."""
    figure = drawing.new_figure(0.9 + 0.27 * (len(rows) + 1), title)
    axes = figure.subplots()
    axes.axis("off")
    if not rows:
        drawing.nothing(axes)
        return figure
    widths = [2 + max(map(len, column)) for column in zip(header, *rows, strict=True)]
    # A character of this size takes about a twelfth of an inch.
    figure.set_figwidth(max(6.0, sum(widths) / 12))
    shares = [width / sum(widths) for width in widths]
    options = {"colWidths": shares, "cellLoc": "center", "bbox": (0, 0, 1, 1)}
    table = axes.table(cellText=rows, colLabels=header, **options)
    table.auto_set_font_size(False)
    table.set_fontsize(drawing.SMALL)
    for (row, _), cell in table.get_celld().items():
        cell.set_edgecolor("#D0D0D0")
        cell.get_text().set_color(drawing.INK)
        if row == 0:
            cell.set_facecolor(drawing.SHADE)
    return figure


def spread_text(row: dict, value: str, scale: float = 100, digits: int = 2) -> str:
    """Returns "mean (min to max)" of a summary row's value, only the mean of a single one."""
    mean, low, high = (scale * row[f"{value}_{name}"] for name in ("mean", "min", "max"))
    if row["seeds"] == 1:
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
