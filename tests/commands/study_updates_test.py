"""The table that the command of the study of mask updates prints."""

from tf_earlyticket.commands.study_updates import print_table
from tf_earlyticket.paper.update_study import Outcome, summarize_variants


def test_the_table_has_a_row_per_variant_and_sparsity_and_a_dash_for_the_unknown(capsys):
    accuracies = {("dense", 0.0): (0.98, 0.97), ("shrink", 0.9): (0.95, 0.96)}
    outcomes = [
        Outcome(variant, goal, seed, accuracy, goal, 4, 16.0)
        for (variant, goal), values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]
    variants = ["shrink"]
    print_table({"variants": variants, "summary": summarize_variants(outcomes, variants)})
    lines = [line.strip("│").split("│") for line in capsys.readouterr().out.splitlines()]
    cells = [[cell.strip() for cell in line] for line in lines if len(line) > 1]
    assert cells == [
        ["dense", "0 %", "2", "16.0", "97.50", "-", "-"],
        ["shrink", "90 %", "2", "16.0", "95.50", "-2.00 (-3.00 to -1.00)", "-"],
    ]
