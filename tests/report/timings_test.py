"""What `bench` measured, for people."""

import numpy as np
import pytest
from reports import made_up_timing

from tf_earlyticket.report import timings
from tf_earlyticket.report.figures import FIGURES
from tf_earlyticket.report.report import read_timings


def test_a_speed_up_is_told_only_where_dense_does_not_differ_from_dense():
    assert made_up_timing().told == "0.50 (0.45 to 0.56)"
    for low, high in ((1.0, 1.01), (0.9, 1.0)):
        assert made_up_timing(control_low=low, control_high=high).told.startswith("0.50")
    for low, high, told in (
        (1.001, 1.02, "– (dense / dense: 1.001 to 1.020)"),
        (0.9, 0.999, "– (dense / dense: 0.900 to 0.999)"),
    ):
        item = made_up_timing(control_low=low, control_high=high)
        assert item.told == told
        # Nor anywhere else in the row.
        assert not any("0.5" in cell and "ratio" in cell for cell in timings.timing_rows([item])[0])


def test_the_tables_show_latencies_and_each_file_once():
    items = [made_up_timing(), made_up_timing(batch=32, ms=8.0), made_up_timing(runtime="openvino")]
    rows = timings.timing_rows(items)
    assert rows[0] == [
        *("runs/a", "litert", "float32", "1", "1", "0.50", "1.00", "0.50 (0.45 to 0.56)", "2,000")
    ]
    assert len(rows) == 3 and all(len(row) == len(timings.TIMING_COLUMNS) for row in rows)
    files = timings.file_rows(items)
    assert files[0] == [
        *("runs/a", "litert", "float32", "3,000", "0.250", "2,000", "0.200"),
        *("3", "4", "2.5", "3.0", "90.00"),
    ]
    assert [row[1] for row in files] == ["litert", "openvino"]
    assert len(files[0]) == len(timings.FILE_COLUMNS)
    unknown = timings.file_rows([made_up_timing(memory_bytes=None, accuracy=None)])[0]
    assert unknown[9] == unknown[11] == "–"


def test_the_figure_shows_single_inputs_and_the_dense_network():
    items = [
        made_up_timing(),
        made_up_timing(batch=32, ms=8.0),
        made_up_timing(precision="int8", ms=0.2, bytes=1000, dense_accuracy=None, accuracy=0.89),
        made_up_timing(runtime="openvino", accuracy=None),
    ]
    (axes,) = timings.draw_timings(items).axes
    marks = [
        (*c.get_offsets()[0], c.get_sizes()[0]) for c in axes.collections if len(c.get_offsets())
    ]
    shown = [(1.0, 91.0), (0.5, 90.0), (0.2, 89.0)]
    np.testing.assert_allclose([mark[:2] for mark in marks], shown)
    # Areas are sizes: 12,000, 3000 and 1000 bytes.
    np.testing.assert_allclose([mark[2] / marks[0][2] for mark in marks], [1, 1 / 4, 1 / 12])
    assert axes.get_xlabel() == "Latency (ms), batch 1, 1 thread"
    labels = axes.get_legend_handles_labels()[1]
    assert labels == ["litert", "float32", "int8", "hollow: the dense network"]
    assert not axes.texts


def test_tickets_are_numbered_where_there_are_several():
    items = [made_up_timing(), made_up_timing(path="runs/b", ms=0.3)]
    (axes,) = timings.draw_timings(items).axes
    assert [text.get_text() for text in axes.texts] == ["1", "2"]
    assert axes.get_legend_handles_labels()[1][-2:] == ["1: runs/a", "2: runs/b"]


def test_nothing_is_drawn_where_no_accuracy_is_known():
    assert timings.draw_timings([]) is None
    assert timings.draw_timings([made_up_timing(accuracy=None)]) is None
    assert FIGURES.get("timings").caption.count(".") >= 2


def test_rows_of_the_json_are_typed():
    assert read_timings([vars(made_up_timing()) | {"new": 1}]) == [made_up_timing()]
    with pytest.raises(ValueError, match="ratio"):
        read_timings([vars(made_up_timing()) | {"ratio": "half"}])
