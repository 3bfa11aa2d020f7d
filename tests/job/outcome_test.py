"""What TensorBoard gets of a finished run."""

import numpy as np
import tensorflow as tf
from reports import made_up_report
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from tf_earlyticket.config import Config, flatten
from tf_earlyticket.job.log import write_outcome

REPORT = made_up_report(config=Config().to_dict(), dense=None, start_epoch=12)


def test_hyperparameters_numbers_and_figures_replace_what_was_there(tmp_path):
    picture = tmp_path / "ppr.png"
    picture.write_bytes(tf.io.encode_png(tf.zeros([4, 6, 3], tf.uint8)).numpy())
    for _ in range(2):
        write_outcome(REPORT, {"ppr": picture}, tmp_path / "tensorboard")
    (events,) = (tmp_path / "tensorboard").rglob("events.out.tfevents*")
    found = EventAccumulator(str(events.parent), size_guidance={"tensors": 0}).Reload()
    (accuracy,) = found.Tensors("ticket_test_accuracy")
    assert accuracy.step == 60 and tf.make_ndarray(accuracy.tensor_proto) == np.float32(0.9136)
    assert "dense_test_accuracy" not in found.Tags()["tensors"]
    width, height, image = found.Tensors("ppr")[0].tensor_proto.string_val
    assert (width, height) == (b"6", b"4") and image.startswith(b"\x89PNG")
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert start.hparams["pruning.final_sparsity"].number_value == 0.8
    assert start.hparams["model.name"].string_value == "resnet20"
    assert start.hparams.keys() == flatten(REPORT.config).keys()
