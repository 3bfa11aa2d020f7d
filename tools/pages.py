"""How the tools write pages of the documentation: from a template beside them and kept results."""

from pathlib import Path

import jinja2

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
