"""How the tools write pages of the documentation: from a template beside them and kept results."""

import shutil
from pathlib import Path

import jinja2

from tf_earlyticket.errors import InputError

TOOLS = Path(__file__).parent


def render(template: str, filters: dict | None = None, **values) -> str:
    """Returns the text of a page.

    Args:
        template: Name of a file in `tools/`; a name in it that has no value is an error.
        filters: Functions that the template uses, by name.
        **values: What the template shows.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TOOLS),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(filters or {})
    return environment.get_template(template).render(**values)


def keep_study(study_dir: Path, results: Path) -> None:
    """Copies the results of a study to a folder of its name under `results`.

    Raises:
        InputError: If the directory holds no study.
    """
    if not (study_dir / "study.json").exists():
        raise InputError(f"{study_dir}: expected the directory of a study, with a study.json.")
    target = results / study_dir.name
    target.mkdir(parents=True, exist_ok=True)
    for name in ("study.json", "study.csv"):
        shutil.copyfile(study_dir / name, target / name)
    shutil.copytree(study_dir / "figures", target / "figures", dirs_exist_ok=True)
