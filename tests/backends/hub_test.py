"""Networks of KerasHub under the six lines, small ones with random weights: nothing is loaded."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from pictures import write_digits

import tf_earlyticket as et
from tf_earlyticket.backends import backend_of, pruned
from tf_earlyticket.backends.probe_data import probe_dataset
from tf_earlyticket.errors import InputError

hub = pytest.importorskip("keras_hub", reason="the extra `hub` is not installed")
ROOT = Path(__file__).parents[2]
TEXT = {
    "vocabulary_size": 50,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 8,
    "intermediate_dim": 16,
    "max_sequence_length": 12,
}


def _words(*more):
    words = np.random.RandomState(0).randint(0, 50, (16, 12))
    given = {"token_ids": words, "padding_mask": np.ones_like(words)}
    return {**given, **{name: np.zeros_like(words) for name in more}}, np.arange(16) % 3


def _pictures(size=32):
    return np.random.RandomState(0).normal(size=(16, size, size, 3)).astype(np.float32), (
        np.arange(16) % 3
    )


def _resnet():
    models = hub.models
    backbone = models.ResNetBackbone(
        [64], [3], [64, 16], [1, 1], [1, 2], "basic_block", image_shape=(32, 32, 3)
    )
    return models.ResNetImageClassifier(backbone, 3)


def _efficientnet():
    two = {
        "width_coefficients": [0.3, 0.3],
        "depth_coefficients": [1.0, 1.0],
        "kernel_sizes": [3, 3],
        "num_repeats": [1, 1],
        "input_filters": [32, 16],
        "output_filters": [16, 24],
        "expansion_ratios": [1, 2],
        "squeeze_and_excite_ratios": [0.25, 0.25],
        "strides": [1, 2],
        "block_types": ["v1", "v1"],
        "force_input_filters": [0, 0],
        "nores_option": [False, False],
    }
    backbone = hub.models.EfficientNetBackbone(
        # Of KerasHub 0.32, the config leaves out another `num_features`.
        **{f"stackwise_{name}": value for name, value in two.items()},
        input_shape=(32, 32, 3),
    )
    return hub.models.EfficientNetImageClassifier(backbone, 3)


def _mobilenet():
    stages = {
        "expansion": [[24], [32, 32]],
        "num_blocks": [1, 2],
        "num_filters": [[8], [16, 16]],
        "kernel_size": [[3], [3, 5]],
        "num_strides": [[2], [2, 1]],
        "se_ratio": [[None], [0.25, 0.25]],
        "activation": [["relu"], ["hard_swish", "hard_swish"]],
        "padding": [[1], [1, 2]],
    }
    backbone = hub.models.MobileNetBackbone(
        **{f"stackwise_{name}": value for name, value in stages.items()},
        output_num_filters=32,
        input_num_filters=8,
        depthwise_filters=8,
        depthwise_stride=1,
        depthwise_residual=False,
        last_layer_filter=32,
        image_shape=(32, 32, 3),
    )
    return hub.models.MobileNetImageClassifier(backbone, 3)


def _vit():
    backbone = hub.models.ViTBackbone((16, 16, 3), 4, 2, 2, 8, 16)
    return hub.models.ViTImageClassifier(backbone, 3)


VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "bad", "film", "##s"]


def _sentences():
    texts = ["a good film", "bad films", "a film"] * 5 + ["films"]
    return np.array(texts), np.arange(16) % 3


def _bert_of_sentences():
    models = hub.models
    tokenizer = models.BertTokenizer(vocabulary=VOCABULARY)
    preprocessor = models.BertTextClassifierPreprocessor(tokenizer, sequence_length=8)
    return models.BertTextClassifier(models.BertBackbone(**TEXT), 3, preprocessor=preprocessor)


def _vit_of_any_size():
    models = hub.models
    converter = models.ViTImageClassifierPreprocessor.image_converter_cls(
        image_size=(16, 16), scale=1 / 255
    )
    preprocessor = models.ViTImageClassifierPreprocessor(image_converter=converter)
    return models.ViTImageClassifier(
        models.ViTBackbone((16, 16, 3), 4, 2, 2, 8, 16), 3, preprocessor=preprocessor
    )


# Name: the task, its data, and what the names of pruned kernels contain.
NETWORKS = {
    "bert": (
        lambda: hub.models.BertTextClassifier(hub.models.BertBackbone(**TEXT), 3),
        lambda: _words("segment_ids"),
        ["query/kernel", "attention_output/kernel", "feedforward_intermediate_dense/kernel"],
    ),
    "distilbert": (
        lambda: hub.models.DistilBertTextClassifier(hub.models.DistilBertBackbone(**TEXT), 3),
        _words,
        ["query/kernel", "attention_output/kernel", "feedforward_output_dense/kernel"],
    ),
    "gpt2": (
        lambda: hub.models.GPT2CausalLM(hub.models.GPT2Backbone(**TEXT)),
        lambda: (_words()[0], _words()[0]["token_ids"]),
        ["query/kernel", "attention_output/kernel", "feedforward_intermediate_dense/kernel"],
    ),
    "vit": (_vit, lambda: _pictures(16), ["query/kernel", "mlp/dense/kernel"]),
    "sentences": (_bert_of_sentences, _sentences, ["query/kernel", "attention_output/kernel"]),
    "pictures": (_vit_of_any_size, lambda: _pictures(20), ["query/kernel", "mlp/dense/kernel"]),
    "resnet": (_resnet, _pictures, ["conv/kernel"]),
    "efficientnet": (_efficientnet, _pictures, ["conv/kernel"]),
    "mobilenet": (_mobilenet, _pictures, ["conv/kernel"]),
}


@pytest.mark.parametrize(
    "name",
    ["bert", *(pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS if name != "bert")],
)
def test_six_lines_make_a_ticket_of_a_task(name, tmp_path):
    make, data, expected = NETWORKS[name]
    plain, (x, y) = make(), data()
    model = et.wrap_for_pruning(plain, et.EarlyTicketPolynomialDecay(0.5))
    assert type(model) is type(plain)
    masks = pruned(model).masks()
    assert all(any(part in mask for mask in masks) for part in expected), list(masks)
    assert not any("embedding" in mask for mask in masks)
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    early_ticket = et.EarlyTicket((x, y), (x, y), batch_size=8, verbose=0)
    options = {"batch_size": 8, "validation_data": (x, y), "verbose": 0}
    model.fit(x, y, epochs=6, callbacks=[early_ticket], **options)
    assert pruned(model).violations() == 0
    ticket = et.export_ticket(model, tmp_path / "ticket")
    assert ticket.sparsity == pytest.approx(0.5, abs=1e-2)
    stripped = et.strip_pruning(model)
    stripped.save(tmp_path / "sparse.keras")
    loaded = keras.saving.load_model(tmp_path / "sparse.keras")
    np.testing.assert_allclose(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-3, atol=1e-4
    )
    again = et.wrap_for_pruning(plain)
    again.compile("adam", "mse")
    et.rewind(again, ticket)
    assert backend_of(again).left_dense(again)


def test_scores_look_at_what_the_preprocessor_makes():
    plain, (x, y) = _bert_of_sentences(), _sentences()
    masks = []
    for inputs, preprocessor in ((x, plain.preprocessor), (plain.preprocessor(x), None)):
        model = et.wrap_for_pruning(plain, ranking="global(score='taylor')")
        model.preprocessor = preprocessor
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        pruned(model).score_data = probe_dataset((inputs, y), "train_data")
        masks.append(pruned(model).ranked_masks(0.5))
    for name, mask in masks[0].items():
        np.testing.assert_array_equal(mask, masks[1][name])


def test_batch_norm_is_recalibrated_on_what_the_preprocessor_makes():
    plain, (x, _) = _resnet(), _pictures(40)
    converter = hub.models.ResNetImageClassifierPreprocessor.image_converter_cls(
        image_size=(32, 32), scale=1 / 255
    )
    preprocessor = hub.models.ResNetImageClassifierPreprocessor(image_converter=converter)
    found = []
    for inputs, own in ((x, preprocessor), (np.asarray(preprocessor(x)), None)):
        model = et.wrap_for_pruning(plain)
        model.preprocessor = own
        assert et.recalibrate_batch_norm(model, (inputs, np.arange(16))) > 0
        found.append(backend_of(model).named_weights(model))
    for name, weight in found[0].items():
        np.testing.assert_allclose(np.asarray(weight), np.asarray(found[1][name]), rtol=1e-5)


def test_data_that_the_preprocessor_does_not_take_are_refused_before_training():
    model = et.wrap_for_pruning(_bert_of_sentences())
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = _sentences()
    numbers = np.zeros((16, 8), np.int32)
    early_ticket = et.EarlyTicket((x, y), (numbers, y), verbose=0)
    with pytest.raises(InputError, match="^validation_data cannot be read: ") as error:
        model.fit(x, y, epochs=6, verbose=0, callbacks=[early_ticket])
    assert "\n" not in str(error.value)


def test_its_files_become_tickets_in_the_command(tmp_path):
    write_digits(tmp_path / "pictures", 3, of_each=12, size=(32, 32), mode="RGB")
    _resnet().save(tmp_path / "mine.keras")
    command = [sys.executable, "-m", "tf_earlyticket.train", "--keras=keras"]
    command += ["--config=configs/finetune.py", f"--data_dir={tmp_path / 'pictures'}"]
    command += ["--config.train.epochs=3", "--config.train.batch_size=9"]
    command += ["--config.train.dense_baseline=false", f"--workdir={tmp_path / 'run'}"]
    command += [f"--config.model.file={tmp_path / 'mine.keras'}"]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": _paths()})
    assert et.Ticket.load(tmp_path / "run" / "ticket").sparsity == pytest.approx(0.8, abs=1e-4)


def _paths():
    return os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
