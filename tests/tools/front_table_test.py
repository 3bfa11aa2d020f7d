"""The README's first table is that of the kept results."""

from pathlib import Path

import front_table


def test_the_table_is_that_of_the_kept_results():
    readme = (Path(front_table.__file__).parents[1] / "README.md").read_text()
    assert f"<!-- table:begin -->\n{front_table.table()}<!-- table:end -->" in readme
