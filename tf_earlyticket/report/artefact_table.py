"""The table of a ticket's artefacts."""

from collections.abc import Mapping, Sequence

COLUMNS = ("Format", "Bytes", "/ dense", "Compressed", "/ dense", "Latency / dense", "Accuracy (%)")


def artefact_rows(artefacts: Sequence[Mapping]) -> list[list[str]]:
    """Returns the cells of the table of artefacts, under `COLUMNS`.

    Args:
        artefacts: As `make_artefacts` returns them.
    """
    return [
        [
            item["format"],
            f"{item['bytes']:,}",
            f"{item['bytes_ratio']:.3f}",
            f"{item['compressed_bytes']:,}",
            f"{item['compressed_ratio']:.3f}",
            "{ratio:.2f} ({low:.2f} to {high:.2f})".format(**item["latency"]),
            "–" if item["accuracy"] is None else f"{100 * item['accuracy']:.2f}",
        ]
        for item in artefacts
    ]
