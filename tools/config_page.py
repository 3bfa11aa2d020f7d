"""Writes `docs/config.md`, the table of all fields of the config, from its dataclasses.

python tools/config_page.py
"""

import dataclasses
import inspect
import re
from pathlib import Path

import pages
from absl import app

from tf_earlyticket.config import Config
from tf_earlyticket.files import write_text

PAGE = Path(__file__).resolve().parents[1] / "docs" / "config.md"


def described(kind: type) -> tuple[str, dict[str, str]]:
    """Returns what the docstring of a dataclass says of it, and of each field by name."""
    about, _, attributes = inspect.getdoc(kind).partition("\n\nAttributes:\n")
    entries = re.split(r"\n(?= {4}\w+: )", f"\n{attributes}")[1:]
    texts = {}
    for entry in entries:
        name, _, text = " ".join(entry.split()).partition(": ")
        texts[name] = text.replace("|", r"\|")
    return about, texts


def section(title: str, config, prefix: str) -> dict:
    """Returns a part of the page: the plain fields of a dataclass with their defaults."""
    about, texts = described(type(config))
    fields = [
        {
            "name": f"{prefix}{field.name}",
            "default": repr(getattr(config, field.name)).replace("'", '"'),
            "text": texts[field.name],
        }
        for field in dataclasses.fields(config)
        if not dataclasses.is_dataclass(getattr(config, field.name))
    ]
    return {"title": title, "about": about, "fields": fields}


def page() -> str:
    """Returns the text of the page."""
    config = Config()
    parts = [
        section(field.name.capitalize(), getattr(config, field.name), f"config.{field.name}.")
        for field in dataclasses.fields(config)
        if dataclasses.is_dataclass(getattr(config, field.name))
    ]
    return pages.render("config.md.jinja", sections=[section("Run", config, "config."), *parts])


def main(argv: list[str]) -> None:
    """Writes the page."""
    del argv
    write_text(PAGE, page())


if __name__ == "__main__":
    app.run(main)
