"""The kept family, and the README's table of it."""

from pathlib import Path

import collect_family

from tf_earlyticket.files import read_record
from tf_earlyticket.report.family import FamilyReport

ROOT = Path(collect_family.__file__).parents[1]


def test_the_tables_are_those_of_the_kept_report():
    folder = ROOT / "results" / "family" / "digits_resnet20"
    report = read_record(folder / "report.json", FamilyReport)
    assert (folder / "README.md").read_text() == collect_family.page(report)
    short = collect_family.table(report, collect_family.FIRST)
    readme = (ROOT / "README.md").read_text()
    assert f"<!-- family:begin -->\n{short}<!-- family:end -->" in readme
    assert report.cost.ratio <= 0.75
    assert all(member.test_accuracy > 0.95 for member in report.family)
