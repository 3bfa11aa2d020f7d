"""What the paper claims, and whether the results of its items say so too."""

from collections.abc import Callable, Mapping

from tf_earlyticket.paper import memorization_claims as memorization
from tf_earlyticket.paper import ticket_claims as tickets
from tf_earlyticket.paper import weight_claims as weights
from tf_earlyticket.paper.judging import Judged, Results


def check_claims(results: Mapping[str, Results]) -> list[dict]:
    """Returns the claims that can be judged from the items at hand.

    Args:
        results: Contents of `results.json` by item; what an item lacks is left out.

    Returns:
        {"item", "claim" (the paper's), "ours" (what was measured), "held"} in the order of the
        items; a claim that needs cells which are not finished is not there.
    """
    claims = []
    for item, claim, check in _CHECKS:
        judged = check(results) if item in results else None
        if judged is not None:
            held, ours = judged
            claims.append({"item": item, "claim": claim, "ours": ours, "held": bool(held)})
    return claims


_CHECKS: list[tuple[str, str, Callable[[Mapping[str, Results]], Judged]]] = [
    (
        "fig1",
        "Every ticket (s, v) with s from half of the epochs on and v from a 40th on is as good as "
        "the one of the last epoch",
        tickets.late_tickets,
    ),
    ("fig1", "Accuracy falls for masks of the first 40 % of the epochs", tickets.early_tickets),
    (
        "fig1",
        "(Not in the paper; expected of a ticket) It beats random, shuffled and reinitialized "
        "controls",
        tickets.controls,
    ),
    (
        "fig2",
        "Pseudo pruning rates per layer settle around half of the epochs",
        weights.rates_settle,
    ),
    (
        "fig2",
        "After the first drop of the learning rate the layers' W_std move in parallel",
        weights.parallel,
    ),
    ("fig2", "There W_std shrinks by eq. 5", weights.low_gradient_law),
    ("fig3", "Equally good masks can be as far apart as 0.159", weights.distant_masks),
    (
        "fig4",
        "Retrained at 0.01, PPR accuracy rises until about half of the epochs and then saturates",
        weights.ppr_saturates("fig4"),
    ),
    (
        "fig4",
        "Retrained at 0.1 there is no difference between epochs",
        weights.large_rate_is_blind,
    ),
    (
        "fig5",
        "Masks of early epochs memorize less than those of late ones",
        memorization.early_masks_memorize_less,
    ),
    (
        "fig5",
        "Masks from half of the epochs on memorize alike",
        memorization.late_masks_are_alike,
    ),
    (
        "fig6",
        "PPR accuracy rises until about half of the epochs and then saturates",
        weights.ppr_saturates("fig6"),
    ),
    ("fig8", "Structured sparsity loses accuracy", tickets.groups_lose),
    (
        "table1",
        "Four shots keep more memorization capacity than one",
        memorization.shots_keep_more,
    ),
    *(
        (item, claim, check(item))
        for item in ("table2", "table3")
        for claim, check in (
            ("Gradual pruning may start earlier than one-shot", tickets.gradual_wins_earlier),
            ("Gradual tickets are better than one-shot ones", tickets.gradual_is_better),
        )
    ),
    ("table4", "It takes 22 % of the epochs of iterative pruning", tickets.cheaper),
    ("table4", "It is as accurate as iterative pruning", tickets.as_accurate),
    ("table5", "Larger groups keep less memorization capacity", memorization.groups_keep_less),
]
