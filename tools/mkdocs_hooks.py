"""Makes the README and the kept results part of the site, where pages under docs/ link to them."""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
# Of the repository itself; what is linked from pages and shown in them.
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
SHOWN = ("*.png", "*.json", "*.csv", "*.md", "*.txt")


def on_files(files, config):
    """Adds the pages of the repository itself, and what lies under results/ as it is."""

    def add(path: Path) -> None:
        files.append(
            File(
                path.relative_to(ROOT).as_posix(),
                str(ROOT),
                config["site_dir"],
                config["use_directory_urls"],
            )
        )

    for page in PAGES:
        add(ROOT / page)
    for pattern in SHOWN:
        for path in sorted((ROOT / "results").rglob(pattern)):
            add(path)
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links as they are in the repository into links as they are on the site."""
    if page.file.src_uri in PAGES:
        markdown = re.sub(r"\]\(docs/", "](", markdown)
    # Source files are not on the site.
    markdown = re.sub(
        r"\[([^]]+)\]\((?:\.\./)?(?:tf_earlyticket|examples)/[^)]+\)", r"`\1`", markdown
    )
    return markdown.replace("](../results/", "](results/").replace("](../README.md", "](README.md")
