"""Channels as units: graphs by hand, rankings, budgets, rounding; NumPy alone."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.channels import CARRIES, MAKES, READS, ChannelBuilder
from tf_earlyticket.pruning.select import resolve_criterion
from tf_earlyticket.pruning.structures import Channels


def chain(*widths, positions=1):
    """Returns the graph of dense layers "0/kernel", ..., with BatchNorm between them."""
    builder, shapes = ChannelBuilder(), {}
    channels = builder.new(widths[0])
    builder.pin(channels, "an input")
    for number, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
        made = builder.new(after)
        builder.use(f"{number}/kernel", 0, READS, channels)
        builder.use(f"{number}/kernel", 1, MAKES, made)
        builder.use(f"{number}/norm", 0, CARRIES, made)
        shapes |= {f"{number}/kernel": (before, after), f"{number}/norm": (after,)}
        channels = made
    builder.pin(channels, "an output")
    kernels = [name for name in shapes if name.endswith("kernel")]
    return builder.build(shapes, dict.fromkeys(kernels, positions), ())


def weights_of(graph, seed=0):
    random = np.random.default_rng(seed)
    return {name: random.normal(size=graph.shapes[name]) for name in graph.kernels()}


def criterion_of(graph, **options):
    return resolve_criterion(structure=Channels(**options)).bound(graph, 8)


def test_families_and_what_is_pinned():
    graph = chain(3, 8, 8, 2)
    found = [(family.name, family.size, family.pinned) for family in graph.families]
    assert found == [
        ("0/kernel", 3, "an input"),
        ("0/kernel", 8, ""),
        ("1/kernel", 8, ""),
        ("2/kernel", 2, "an output"),
    ]
    assert graph.kernels() == ["0/kernel", "1/kernel", "2/kernel"]
    assert graph.multiply_adds() == 24 + 64 + 16
    assert graph.parameters() == 24 + 64 + 16 + 18


def test_joined_channels_live_and_die_together():
    builder = ChannelBuilder()
    left, right, after = builder.new(4), builder.new(4), builder.new(4)
    builder.use("left", 1, MAKES, left)
    builder.use("right", 1, MAKES, right)
    builder.use("after", 0, READS, np.concatenate([left, right[::-1]]))
    builder.join(left, right)
    builder.use("after", 1, MAKES, after)
    builder.pin(after, "an output")
    graph = builder.build({"left": (2, 4), "right": (2, 4), "after": (8, 4)}, {}, ())
    (family,) = graph.removable
    assert family.makes == ("left", "right") and family.size == 4
    kept = graph.everything()
    kept[family.channels[1]] = False
    assert graph.mask("left", kept)[0].tolist() == [True, False, True, True]
    assert graph.mask("after", kept)[:, 0].tolist() == [1, 0, 1, 1, 1, 1, 0, 1]
    assert graph.shape("after", kept) == (6, 4)
    values = np.arange(32).reshape(8, 4)
    np.testing.assert_array_equal(graph.cut("after", values, kept), np.delete(values, [1, 6], 0))


def test_a_channel_is_read_only_by_what_stays_itself():
    graph = chain(2, 4, 4, 2)
    weights = weights_of(graph)
    weights["2/kernel"][:2] = 0
    # Read by the channels alone that nothing reads.
    weights["1/kernel"][0, 2:] = 0
    kept = graph.without_readers(weights)
    first, second = (kept[family.channels].tolist() for family in graph.removable)
    assert (first, second) == ([False, True, True, True], [False, False, True, True])
    assert graph.revived(weights, kept) == {}
    weights["2/kernel"][1, 0] = 1
    assert graph.revived(weights, kept) == {"2/kernel": 1}


def test_of_a_layer_that_nothing_reads_one_channel_is_left():
    graph = chain(2, 4, 2)
    weights = weights_of(graph) | {"1/kernel": np.zeros((4, 2))}
    kept = graph.without_readers(weights)
    assert kept[graph.removable[0].channels].sum() == 1


def test_the_one_channel_that_is_left_reads_what_is_still_there():
    graph = chain(2, 4, 4, 4, 2)
    weights = weights_of(graph)
    # Its only reader turns out to be one that nothing reads.
    weights["2/kernel"] = np.zeros((4, 4))
    weights["2/kernel"][3, 2] = 1
    weights["3/kernel"][2] = 0
    weights["1/kernel"] = np.zeros((4, 4))
    weights["1/kernel"][1, 0] = weights["1/kernel"][2, 3] = 1
    kept = graph.without_readers(weights)
    assert [kept[family.channels].sum() for family in graph.removable[:2]] == [1, 1]
    assert graph.revived(weights, kept) == {}


def test_the_weakest_channels_go_whatever_the_size_of_their_layer():
    graph = chain(4, 8, 8, 4)
    weights = {name: np.ones(graph.shapes[name]) for name in graph.kernels()}
    first, second = graph.removable
    # Of a layer whose weights are all small, which a plain ranking would empty.
    weights["2/kernel"] *= 1e-3
    for family, weak in ((first, (1, 6)), (second, (3, 5))):
        for use in graph.uses:
            if use.role != CARRIES:
                hit = np.isin(use.channels, family.channels[list(weak)])
                np.moveaxis(weights[use.weight], use.axis, 0)[hit] *= 0.1
    criterion = criterion_of(graph, multiple=1)
    kept = criterion.structure.whole(criterion.masks(weights, 0.34))
    assert np.flatnonzero(~kept[first.channels]).tolist() == [1, 6]
    assert np.flatnonzero(~kept[second.channels]).tolist() == [3, 5]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 99),
    st.sampled_from([1, 4, 8]),
    st.sampled_from(["weights", "macs"]),
    st.lists(st.floats(0, 0.8), min_size=1, max_size=4),
)
def test_masks_only_shrink_and_meet_the_goal_to_one_step(seed, multiple, of, sparsities):
    graph = chain(3, 24, 16, 32, 10, positions=seed % 5 + 1)
    weights = weights_of(graph, seed)
    criterion = criterion_of(graph, multiple=multiple, of=of)
    structure, masks = criterion.structure, None
    for sparsity in sorted(sparsities):
        before, masks = masks, criterion.masks(weights, sparsity, masks)
        if before is not None:
            assert all((masks[name] <= before[name]).all() for name in masks)
        kept = structure.whole(masks)
        allowed = graph.everything() if before is None else structure.whole(before)
        whole = structure.cost(graph.everything(), weights)
        budget = round((1 - sparsity) * whole)
        assert structure.cost(kept, weights) <= budget
        assert criterion.sparsity(masks) == 1 - structure.cost(kept, weights) / whole
        for family in graph.removable:
            count = int(kept[family.channels].sum())
            assert count >= 0.1 * family.size
            assert count % multiple == 0 or count == family.size
            more = np.flatnonzero(allowed[family.channels] & ~kept[family.channels])[:multiple]
            if more.size:
                larger = kept.copy()
                larger[family.channels[more]] = True
                assert structure.cost(larger, weights) > budget


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 99), st.sampled_from([4, 8]), st.lists(st.floats(0.05, 0.49), max_size=6))
@example(0, 4, [0.23893543030855952])
def test_a_ramp_ends_where_one_step_would(seed, multiple, sparsities):
    graph = chain(3, 16, 32, 64, 10, positions=seed % 5 + 1)
    weights = weights_of(graph, seed)
    options = {"ranking": "layerwise", "structure": Channels(of="macs", multiple=multiple)}
    criterion = resolve_criterion(**options).bound(graph, multiple)
    ramp, masks = criterion.towards(0.5), None
    for sparsity in [*sorted(sparsities), 0.5]:
        masks = ramp.masks(weights, sparsity, masks)
        left = graph.multiply_adds(criterion.structure.whole(masks))
        assert left <= round((1 - sparsity) * graph.multiply_adds())
    counts = [
        [int(kept[family.channels].sum()) for family in graph.removable]
        for kept in map(criterion.structure.whole, (masks, criterion.masks(weights, 0.5)))
    ]
    # Which of a family, what is left of its inputs decides.
    assert counts[0] == counts[1]


@pytest.mark.parametrize("ranking", ["global", "layerwise"])
def test_coarse_steps_on_the_way_do_not_add_up_beyond_the_goal(ranking):
    # As a residual network: few channels of large pictures, many of small ones.
    graph = chain(3, 16, 16, 32, 32, 64, 64, 10)
    positions = dict(zip(graph.positions, (64, 64, 64, 16, 16, 4, 4), strict=True))
    graph = replace(graph, positions=positions)
    criterion = resolve_criterion(ranking, structure=Channels(of="macs", multiple=8))
    ends = {}
    for final in (0.5, None):
        own, ends[final] = criterion.bound(graph, 8).towards(final), []
        for seed in range(6):
            weights, masks = weights_of(graph, seed), None
            for sparsity in 0.5 * (1 - (1 - np.linspace(0.1, 1, 10)) ** 3):
                masks = own.masks(weights, sparsity, masks)
                # What is gone is no part of the next ranking.
                weights = {name: weight * masks[name] for name, weight in weights.items()}
            ends[final].append(own.sparsity(masks))
    assert min(ends[0.5]) >= 0.5 and np.mean(ends[0.5]) < 0.51
    assert np.mean(ends[None]) > 0.53


def test_the_floor_stays_however_sparse():
    graph = chain(3, 40, 40, 2)
    criterion = criterion_of(graph, multiple=1, floor=0.25)
    masks = criterion.masks(weights_of(graph), 0.99)
    kept = criterion.structure.whole(masks)
    assert [int(kept[family.channels].sum()) for family in graph.removable] == [10, 10]
    highest = criterion.structure.highest_sparsity(masks)
    assert criterion.sparsity(masks) == highest == 1 - (30 + 100 + 20) / (120 + 1600 + 80)


def test_families_with_a_weight_that_is_not_pruned_stay():
    graph = chain(3, 8, 8, 2).only(["0/kernel", "1/kernel"])
    assert [family.name for family in graph.removable] == ["0/kernel"]
    assert graph.families[2].pinned == "2/kernel is not pruned"


def test_layerwise_keeps_the_same_part_of_each_family_and_its_best():
    graph = chain(3, 32, 16, 8, 2)
    weights = weights_of(graph)
    # Few channels of the first family stand out, so that one ranking of all takes most of it.
    weights["0/kernel"][:, 4:] *= 0.01
    kept = {}
    for ranking in ("global", "layerwise"):
        criterion = resolve_criterion(ranking, structure=Channels(of="macs", multiple=1))
        criterion, masks = criterion.bound(graph, 1), None
        for sparsity in (0.3, 0.6, 0.75):
            masks = criterion.masks(weights, sparsity, masks)
        assert criterion.sparsity(masks) >= 0.75
        whole = criterion.structure.whole(masks)
        kept[ranking] = [np.count_nonzero(whole[f.channels]) / f.size for f in graph.removable]
    assert max(kept["layerwise"]) - min(kept["layerwise"]) <= 1 / 8
    assert max(kept["global"]) - min(kept["global"]) > 1 / 8
    np.testing.assert_array_equal(masks["0/kernel"][0, :4], True)


def test_what_is_refused():
    with pytest.raises(InputError, match="of='flops': expected one of weights, macs"):
        Channels(of="flops")
    with pytest.raises(InputError, match="multiple=0"):
        resolve_criterion(structure="channels(multiple=0)")
    with pytest.raises(InputError, match="floor=0"):
        Channels(floor=0)
    with pytest.raises(InputError, match="expected the weights of a wrapped model"):
        resolve_criterion(structure="channels").masks({"a": np.ones((2, 2))}, 0.5)


def test_a_structure_given_as_an_object_is_written_by_name():
    criterion = resolve_criterion(structure=Channels("macs", 4))
    assert criterion.names["structure"] == "channels(of='macs', multiple=4, floor=0.1)"
    assert resolve_criterion(**criterion.names) == criterion

    class Own(Channels):
        pass

    with pytest.raises(InputError, match="one that a registered name makes"):
        resolve_criterion(structure=Own())
