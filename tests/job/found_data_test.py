"""A whole run on a folder of pictures, and what is made of its ticket."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from pictures import write_digits
from PIL import Image

from tf_earlyticket.report.report import Report


@pytest.mark.slow
@pytest.mark.parametrize("keras", ["tf_keras", "keras"])
def test_a_folder_of_digits_becomes_a_ticket(tmp_path, keras):
    last = write_digits(tmp_path / "pictures")[-1]
    command = [sys.executable, "-m", "tf_earlyticket.train", f"--keras={keras}"]
    command += ["--config.data.name=folder", f"--data_dir={tmp_path / 'pictures'}"]
    command += ["--config.model.name=resnet8", "--config.train.epochs=6"]
    command += [f"--workdir={tmp_path / 'run'}"]
    subprocess.run(command, check=True)
    report = Report.read(tmp_path / "run" / "report.json")
    assert report.config["data"]["fingerprint"] and report.ticket.sparsity == pytest.approx(
        0.8, abs=1e-4
    )
    served = tf.saved_model.load(str(tmp_path / "run" / "ticket" / "saved_model"))
    picture = np.asarray(Image.open(last))[None, :, 1:17, None]
    found = served.serve_pictures(tf.constant(picture))
    assert found["classes"].numpy()[0] == b"digit_0" and found["probabilities"].shape == (1, 10)
    export = [sys.executable, "-m", "tf_earlyticket.export", f"--ticket={tmp_path / 'run/ticket'}"]
    export += ["--format=tflite_int8", f"--data_dir={tmp_path / 'pictures'}"]
    assert "tflite" in subprocess.run(export, check=True, capture_output=True, text=True).stdout
    (last.parent / "another.png").write_bytes(last.read_bytes())
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 2 and "data.fingerprint" in refused.stderr
