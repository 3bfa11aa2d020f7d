"""Patterns that hardware skips, in a model that trains: exact in every group, also in its files."""

import numpy as np
import pytest

import tf_earlyticket as et
from tf_earlyticket.backends import pruned
from tf_earlyticket.errors import InputError


def groups_of(mask, axis, size):
    """[groups, size] of an axis that divides."""
    return np.moveaxis(mask, axis, -1).reshape(-1, size)


@pytest.mark.parametrize("ranking", ["global", "layerwise"])
def test_two_of_four_are_kept_everywhere_after_a_ramp(network, compiled, data, tmp_path, ranking):
    schedule = et.EarlyTicketPolynomialDecay(0.5)
    model = et.wrap_for_pruning(network(), schedule, ranking=ranking, structure="2:4")
    model = compiled(model)
    model.fit(data[0], validation_data=data[1], epochs=6, verbose=0, callbacks=[early(*data)])
    masks = pruned(model).masks()
    assert {mask.shape for mask in masks.values()} == {(3, 3, 4, 8), (3, 3, 8, 8)}
    for mask in masks.values():
        assert (groups_of(mask, -2, 4).sum(-1) == 2).all()
    assert pruned(model).violations() == 0
    ticket = et.export_ticket(model, tmp_path / "ticket")
    assert ticket.sparsity == 0.5


def early(train, validation):
    return et.EarlyTicket(train, validation, detector=et.FixedEpoch(2))


@pytest.mark.parametrize("ranking", ["global", "layerwise"])
def test_blocks_of_outputs_live_or_die_together(network, compiled, data, ranking):
    schedule = et.EarlyTicketPolynomialDecay(0.75, begin_step=2, ramp_steps=6, frequency=2)
    model = et.wrap_for_pruning(network(), schedule, ranking=ranking, structure="1x4")
    compiled(model).fit(data[0], epochs=2, verbose=0, callbacks=[et.MaskUpdate()])
    masks = pruned(model).masks()
    for mask in masks.values():
        assert set(groups_of(mask, -1, 4).sum(-1)) == {0, 4}
    assert sum(map(np.sum, masks.values())) == sum(mask.size for mask in masks.values()) / 4
    assert pruned(model).violations() == 0


def test_another_final_sparsity_than_the_pattern_has_is_refused_at_once(network):
    expected = "^final_sparsity=0.8: expected 0.5, the sparsity of structure='2:4'.$"
    with pytest.raises(InputError, match=expected):
        et.wrap_for_pruning(network(), et.EarlyTicketPolynomialDecay(0.8), structure="2:4")
