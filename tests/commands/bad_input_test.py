"""Whatever a user gives that cannot work is named, with its value and what is accepted.

One table per kind of input. Each case raises an `InputError` (a `ValueError`; exit status 2 on the
command line) of one line before any training, and writes nothing.
"""

import functools
import json
import shutil
from pathlib import Path

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import tf_earlyticket as et
from tf_earlyticket import (
    bench,
    compare,
    export,
    inspect,
    reproduce,
    study_detectors,
    study_updates,
    train,
)
from tf_earlyticket.backends.tf_keras.compat import keras, tfmot
from tf_earlyticket.config import Config
from tf_earlyticket.data.catalog import describe, load
from tf_earlyticket.data.in_memory import InMemoryData, Split
from tf_earlyticket.job import default_config
from tf_earlyticket.job.workdir import RunPaths

layers = keras.layers
IMAGES = np.random.default_rng(0).normal(size=(32, 8, 8, 1)).astype(np.float32)
LABELS = np.arange(32) % 3


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def _assert_refused(action, parts):
    with pytest.raises(et.InputError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message
    assert not list(Path.cwd().iterdir())


# Flags and config fields: (program, arguments, what the line on stderr says).
FLAGS = [
    (train, ["--epochs=3"], ["'epochs'"]),
    (train, ["--wrkdir=x"], ["'wrkdir'", "workdir"]),
    (train, ["--dry_run=perhaps"], ["dry_run", "perhaps"]),
    (train, ["--seed=1.5"], ["seed=1.5", "an integer"]),
    (train, ["--seed=4294967296"], ["seed=4294967296", "from 0 to 2147483647"]),
    (train, ["--strategy=gpu"], ["--strategy='gpu'", "mirrored"]),
    (train, ["--config=no.py"], ["--config=no.py", "get_config()"]),
    (train, ["one", "two"], ["'one'", "flags only"]),
    (train, ["--config.data.nme=digits"], ["nme", "name"]),
    (train, ["--config.data.name=mnist"], ["name='mnist'", "digits"]),
    (train, ["--config.data.image_size=-3"], ["image_size=-3"]),
    (train, ["--config.data.train_examples=0"], ["train_examples=0"]),
    (train, ["--config.data.train_examples=99999"], ["train_examples=99999"]),
    (train, ["--config.data.validation_examples=99999"], ["validation_examples=99999"]),
    (train, ["--config.model.name=vgg"], ["model.name='vgg'", "resnet20"]),
    (train, ["--config.train.epochs=0"], ["epochs=0", ">= 1"]),
    (train, ["--config.train.epochs=1e3"], ["epochs=1e3", "an integer"]),
    (train, ["--config.train.batch_size=0"], ["batch_size=0", ">= 1"]),
    (train, ["--config.train.learning_rate=0"], ["learning_rate=0", "> 0"]),
    (train, ["--config.train.learning_rate=nan"], ["learning_rate=nan", "> 0"]),
    (train, ["--config.train.learning_rate=inf"], ["learning_rate=inf", "> 0"]),
    (train, ["--config.train.drop_epochs=9,5"], ["drop_epochs=(9, 5)", "rising"]),
    (train, ["--config.train.drop_factor=2"], ["drop_factor=2", "<= 1"]),
    (train, ["--config.train.momentum=1"], ["momentum=1", "< 1"]),
    (train, ["--config.train.weight_decay=-1"], ["weight_decay=-1", ">= 0"]),
    (train, ["--config.train.dtype_policy=int8"], ["dtype_policy='int8'", "mixed_bfloat16"]),
    (train, ["--config.train.steps_per_execution=0"], ["steps_per_execution=0", ">= 1"]),
    (train, ["--config.pruning.mode=prune"], ["mode='prune'", "rewind"]),
    (train, ["--config.pruning.final_sparsity=80"], ["final_sparsity=80", "< 1"]),
    (
        train,
        ["--config.pruning.initial_sparsity=0.9"],
        ["initial_sparsity=0.9", "<= 0.8"],
    ),
    (train, ["--config.pruning.ranking=local"], ["ranking='local'", "layerwise"]),
    (train, ["--config.pruning.group_size=0"], ["group_size=0", "at least 1"]),
    (train, ["--config.pruning.structure=channel"], ["structure='channel'", "channels"]),
    (
        train,
        ["--config.pruning.target=macs:0.5"],
        ["config.pruning.target='macs:0.5'", "structure='channels' with it"],
    ),
    (
        train,
        ["--config.pruning.structure=channels", "--config.pruning.target=flops:0.5"],
        ["target='flops:0.5'", "macs:PART"],
    ),
    (
        train,
        ["--config.pruning.structure=channels", "--config.pruning.target=macs:0"],
        ["target='macs:0'", "macs:PART"],
    ),
    (
        train,
        [
            "--config.pruning.structure=channels",
            "--config.pruning.target=macs:0.5",
            "--config.pruning.final_sparsity=0.7",
        ],
        ["final_sparsity=0.7", "beside target='macs:0.5'"],
    ),
    (
        train,
        ["--config.pruning.structure=channels(floor=0.2)", "--config.pruning.channel_floor=0.1"],
        ["channel_floor=0.1", "structure='channels' with it"],
    ),
    (
        train,
        ["--config.pruning.structure=channels", "--config.pruning.channel_multiple=0"],
        ["multiple=0", "at least 1"],
    ),
    (train, ["--config.train.optimizer=adam(beta_3=1)"], ["adam(beta_3=1)", "beta_1"]),
    (train, ["--config.train.schedule=linear"], ["config.train.schedule='linear'", "cosine"]),
    (train, ["--config.pruning.frequency=0"], ["frequency=0", "at least 1"]),
    (
        train,
        ["--config.pruning.frequency=3", "--config.train.steps_per_execution=2"],
        ["frequency=3", "multiple of"],
    ),
    (train, ["--config.pruning.ramp_epochs=-1"], ["ramp_epochs", "-1"]),
    (train, ["--config.pruning.ramp_epochs=59"], ["ramp_epochs", "59"]),
    (train, ["--config.train.distillation=-1"], ["distillation=-1", ">= 0"]),
    (
        train,
        ["--config.train.distillation=1", "--config.pruning.mode=rewind"],
        ["distillation=1", "expected 0 with mode='rewind'"],
    ),
    (train, ["--config.pruning.rewind_epoch=-1"], ["rewind_epoch=-1", "from 0 to"]),
    (train, ["--config.probe.detector=psychic"], ["psychic", "ppr_saturation"]),
    (train, ["--config.probe.every_epochs=0"], ["every", "0"]),
    (train, ["--config.probe.fraction=1.5"], ["fraction=1.5", "<= 1"]),
    (train, ["--config.probe.learning_rate=-0.1"], ["learning_rate=-0.1", "> 0"]),
    (train, ["--config.probe.tolerance=0"], ["tolerance=0", "> 0"]),
    (
        train,
        ["--config.probe.detector=fixed_epoch", "--config.probe.start_epoch=60"],
        ["fixed_epoch(epoch=60)", "an integer from 1 to"],
    ),
    (train, ["--config.ticket=nowhere"], ["config.ticket='nowhere'", "expected a ticket"]),
    (reproduce, ["--item=fig7"], ["item='fig7'", "fig1"]),
    (reproduce, ["--item=fig1", "--scale=tiny"], ["scale='tiny'", "smoke"]),
    (reproduce, ["--item=fig1", "--scale=smoke", "--shard=3/2"], ["shard", "3/2"]),
    (reproduce, ["--item=fig1", "--scale=smoke", "--mask_epochs=99"], ["mask_epochs", "99"]),
    (study_detectors, ["--seeds=a"], ["seeds", "a"]),
    (study_detectors, ["--modes=magic"], ["magic", "gradual"]),
    (study_updates, ["--variants=magic"], ["variants='magic'", "shrink"]),
    (study_updates, ["--sparsities=some"], ["--sparsities=some", "numbers"]),
    (study_updates, ["--seeds=-1"], ["seeds", "-1"]),
    (export, ["--format=tflite"], ["--ticket is missing"]),
    (export, ["--ticket=nowhere"], ["nowhere", "expected a ticket"]),
    (export, ["--rounds=0"], ["--rounds=0", "expected an integer of at least 1"]),
    (bench, [], ["TICKET", "got none"]),
    (bench, ["nowhere", "--runtime=tensorflow"], ["nowhere", "expected a ticket"]),
    (bench, ["nowhere", "--runtime=torch"], ["runtime='torch'", "onnxruntime"]),
    (bench, ["nowhere", "--threads=some"], ["--threads=some", "integers"]),
    (bench, ["nowhere", "--batch=0"], ["batch=0", "at least 1"]),
    (bench, ["nowhere", "--output=x.pdf"], ["--output='x.pdf'", "ends in .png"]),
    (bench, ["nowhere", "--json=/"], ["--json='/'", "a file, got a directory"]),
    (inspect, ["nowhere"], ["PATH='nowhere'", "a ticket"]),
    (inspect, ["/"], ["PATH='/'", "of no known kind"]),
    (compare, ["--output=x.pdf", "nowhere"], ["--output='x.pdf'", "ends in .png"]),
    (compare, ["--output=.", "nowhere"], ["--output='.'", "ends in .png"]),
    (train, ["--config.train.learning_rate=1e308"], ["learning_rate=1e+308", "<= 3.4e+38"]),
    (train, ["--config.probe.learning_rate=1e308"], ["learning_rate=1e+308", "<= 3.4e+38"]),
    (train, ["--workdir=a\udcffb"], ["workdir=a\\udcffb", "printable"]),
    (train, ["--config.ticket=nowhere\n"], ["printable"]),
]


def test_a_flag_file_that_is_no_text_and_a_config_file_that_ends_the_program(
    call_program, tmp_path
):
    files = {"noise": b"\xe8\xff\x00", "ends.py": b"import sys\nsys.exit(3)\n"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for argument, said in (
        (f"--flagfile={tmp_path / 'noise'}", "--flagfile: expected a text file"),
        (f"--config={tmp_path / 'ends.py'}", "the file ends the program"),
    ):
        status, _, err = call_program(train, argument)
        assert status == 2 and said in err and "Traceback" not in err


def test_a_closed_output_is_no_error(call_program, monkeypatch):
    monkeypatch.setattr("sys.stdout", None)
    status, _, err = call_program(train, "--config.train.epochs=0")
    assert status == 2 and "config.train.epochs=0" in err


def test_a_run_does_not_replace_the_ticket_it_begins_with(tmp_path):
    config = Config(ticket=str(tmp_path / "run/ticket"))
    with pytest.raises(et.InputError, match="config.ticket=.*outside of the --workdir"):
        RunPaths(tmp_path / "run").check(config)


def test_a_file_where_a_run_has_a_directory_is_refused(tmp_path):
    (tmp_path / "tensorboard").write_text("")
    with pytest.raises(et.InputError, match="--workdir=.*got a file 'tensorboard'"):
        RunPaths(tmp_path).check(Config())


@pytest.mark.parametrize(
    ("program", "arguments", "parts"), FLAGS, ids=[" ".join(case[1]) for case in FLAGS]
)
def test_flags_and_fields(call_program, program, arguments, parts):
    status, out, err = call_program(program, *arguments)
    assert status == 2, out + err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in err
    for part in parts:
        assert part in errors[0]
    assert not list(Path.cwd().iterdir())


def _network(outputs=3):
    return keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(4, 3, name="stem"),
            layers.Conv2D(4, 3, name="middle"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(outputs, name="classifier"),
        ]
    )


class _Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


def _keras3():
    return keras3.Sequential([keras3.layers.Input((4,)), keras3.layers.Dense(3)])


def _wrapped_by_tfmot():
    return tfmot.sparsity.keras.prune_low_magnitude(_network())


def _normalized():
    return keras.Sequential(
        [layers.Input((5,)), layers.BatchNormalization(name="norm"), layers.Dense(2, name="out")]
    )


WRAPPING = {
    "no model": (lambda: et.wrap_for_pruning([1]), ["list", "Keras model"]),
    "Keras 3, one layer": (
        lambda: et.wrap_for_pruning(_keras3()),
        ["no prunable layer", "prunable=..."],
    ),
    "Keras 3, not built": (
        lambda: et.wrap_for_pruning(keras3.Sequential([keras3.layers.Dense(3)])),
        ["not built", "input shape"],
    ),
    "Keras 3, a schedule of TFMOT": (
        lambda: et.wrap_for_pruning(
            _keras3(), tfmot.sparsity.keras.ConstantSparsity(0.5, begin_step=0)
        ),
        ["ConstantSparsity", "EarlyTicketPolynomialDecay"],
    ),
    "subclassed": (lambda: et.wrap_for_pruning(_Subclassed()), ["subclassed", "functional"]),
    "not built": (
        lambda: et.wrap_for_pruning(keras.Sequential([layers.Dense(3)])),
        ["not built", "input shape"],
    ),
    "wrapped already": (
        lambda: et.wrap_for_pruning(et.wrap_for_pruning(_network())),
        ["wrapped for pruning already"],
    ),
    "wrapped by TFMOT": (
        lambda: et.wrap_for_pruning(_wrapped_by_tfmot()),
        ["wrapped for pruning already"],
    ),
    "nothing prunable": (
        lambda: et.wrap_for_pruning(keras.Sequential([layers.Input((4,)), layers.Dense(2)])),
        ["no prunable layer", "prunable="],
    ),
    "no kernel": (
        lambda: et.wrap_for_pruning(_normalized(), prunable=["norm"]),
        ["'norm'", "cannot be pruned"],
    ),
    "unknown layer": (
        lambda: et.wrap_for_pruning(_network(), prunable=["midle"]),
        ["prunable='midle'", "Did you mean 'middle'"],
    ),
    "layers as text": (
        lambda: et.wrap_for_pruning(_network(), prunable="middle"),
        ["prunable='middle'", "list of names"],
    ),
    "schedule of another kind": (
        lambda: et.wrap_for_pruning(_network(), 0.8),
        ["schedule is a float", "PruningSchedule"],
    ),
    "ranking": (
        lambda: et.wrap_for_pruning(_network(), ranking="random"),
        ["ranking='random'", "layerwise"],
    ),
    "group size": (
        lambda: et.wrap_for_pruning(_network(), group_size=2.5),
        ["group_size", "2.5"],
    ),
    "sparsity": (
        lambda: et.EarlyTicketPolynomialDecay(1.2),
        ["final_sparsity", "1.2"],
    ),
    "begin without ramp": (
        lambda: et.EarlyTicketPolynomialDecay(0.8, begin_step=5),
        ["begin_step=5", "ramp_steps"],
    ),
    "stripping": (lambda: et.strip_pruning("model"), ["str", "Keras model"]),
    "exporting": (lambda: et.export_ticket(_network(), "ticket"), ["wrap_for_pruning"]),
    "ticket of NaN": (
        lambda: et.Ticket({"a": np.ones(2)}, {"a": np.array([1, np.nan])}, 0),
        ["rewind_weights['a']", "finite"],
    ),
    "weights of NaN": (
        lambda: et.global_masks([np.array([1.0, np.nan])], 0.5),
        ["weights[0]", "finite"],
    ),
    "rewinding another network": (
        lambda: et.rewind(
            et.wrap_for_pruning(_network()), et.Ticket({"a": np.ones(2)}, {"a": np.ones(2)}, 0)
        ),
        ["same prunable weights"],
    ),
    "new layers": (
        lambda: et.rewind(
            et.wrap_for_pruning(_network()),
            et.Ticket({"a": np.ones(2)}, {"a": np.ones(2)}, 0),
            new_layers=["clasifier"],
        ),
        ["new_layers='clasifier'", "'classifier'"],
    ),
}


@pytest.mark.parametrize("name", WRAPPING)
def test_models_and_arguments(name):
    _assert_refused(*WRAPPING[name])


def _data(images=IMAGES, labels=LABELS, batch=8):
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch)


def _begin(callback, model):
    callback.set_model(model)
    callback.on_train_begin()


def _fit(train=None, validation=None, *, epochs=4, model=None, **options):
    train = _data() if train is None else train
    model = model or et.wrap_for_pruning(_network())
    if not model.optimizer:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss, metrics=["accuracy"])
    early_ticket = et.EarlyTicket(train, _data() if validation is None else validation, **options)
    model.fit(_data(), epochs=epochs, callbacks=[early_ticket], verbose=0)


def _with(images=IMAGES, labels=LABELS, **changes):
    images, labels = images.copy(), labels.copy()
    if "image" in changes:
        images[3, 2, 2, 0] = changes["image"]
    if "label" in changes:
        labels[3] = changes["label"]
    return _data(images, labels)


DATA = {
    "no data set": (lambda: _fit(train=IMAGES), ["train_data=array", "tf.data.Dataset"]),
    "no labels": (
        lambda: _fit(validation=tf.data.Dataset.from_tensors(IMAGES)),
        ["validation_data yields", "(inputs, labels)"],
    ),
    "empty": (lambda: _fit(validation=_data().take(0)), ["validation_data is empty"]),
    "endless": (lambda: _fit(validation=_data().repeat()), ["validation_data never ends"]),
    "another shape": (
        lambda: _fit(train=_data(IMAGES[:, :6])),
        ["train_data has inputs of shape (8, 6, 8, 1)", "(None, 8, 8, 1)"],
    ),
    "not batched": (
        lambda: _fit(train=_data().unbatch()),
        ["train_data has inputs of shape (8, 8, 1)"],
    ),
    "NaN": (lambda: _fit(train=_with(image=np.nan)), ["train_data has NaN or infinite inputs"]),
    "infinite": (
        lambda: _fit(validation=_with(image=-np.inf)),
        ["validation_data has NaN or infinite inputs"],
    ),
    "label too large": (
        lambda: _fit(validation=_with(label=3)),
        ["validation_data has labels from 0 to 3", "expected 0 to 2"],
    ),
    "label negative": (lambda: _fit(train=_with(label=-1)), ["train_data has labels from -1"]),
    "too few epochs": (lambda: _fit(epochs=2), ["epochs", "2"]),
    "metric": (lambda: _fit(epochs=4, monitor="auc"), ["monitor='auc'", "accuracy"]),
    "not compiled": (
        lambda: _begin(et.MaskUpdate(), et.wrap_for_pruning(_network())),
        ["no optimizer", "model.compile"],
    ),
    "no model": (lambda: _begin(et.MaskUpdate(), None), ["NoneType", "expected a Keras model"]),
    "not wrapped": (
        lambda: _fit(model=_network()),
        ["expected a model returned by wrap_for_pruning"],
    ),
    "probe fraction": (lambda: _fit(probe_fraction=0.0), ["fraction=0.0", "(0, 1]"]),
    "probe learning rate": (
        lambda: _fit(probe_learning_rate=-1.0),
        ["learning_rate=-1.0", "above 0"],
    ),
    "rewind epoch": (lambda: _fit(rewind_epoch=9), ["rewind_epoch=9"]),
}


@pytest.mark.parametrize("name", DATA)
def test_data_and_callbacks(name):
    _assert_refused(*DATA[name])


SPEC = describe("digits", train_examples=4, validation_examples=2)
GOOD = Split(np.zeros((4, *SPEC.image_shape), np.uint8), np.zeros(4, np.int32))
ARRAYS = {
    "another shape": (Split(GOOD.images[:, :4], GOOD.labels), "train images are uint8 of shape"),
    "floats": (Split(GOOD.images.astype(np.float32), GOOD.labels), "train images are float32"),
    "labels missing": (Split(GOOD.images, GOOD.labels[:3]), "4 train images and labels of shape"),
    "label too large": (Split(GOOD.images, np.full(4, 10)), "from 10 to 10; expected 0 to 9"),
    "label negative": (Split(GOOD.images, np.full(4, -1)), "from -1 to -1; expected 0 to 9"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_a_data_set(name):
    split, message = ARRAYS[name]
    _assert_refused(
        lambda: InMemoryData(SPEC, train=split, validation=GOOD, test=GOOD),
        ["data.name='digits'", message],
    )


@pytest.fixture(scope="module")
def tiny_cifar10(tmp_path_factory):
    """A prepared CIFAR-10 of a few images."""
    image = np.zeros((32, 32, 3), np.uint8)
    examples = [(n, {"image": image, "label": n % 10, "id": str(n)}) for n in range(20)]
    folder = tmp_path_factory.mktemp("tfds")
    tfds.dataset_builders.store_as_tfds_dataset(
        name="cifar10",
        version="3.0.2",
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(32, 32, 3)),
                "label": tfds.features.ClassLabel(num_classes=10),
                "id": tfds.features.Text(),
            }
        ),
        split_datasets={"train": iter(examples), "test": iter(examples[:5])},
        data_dir=folder,
    )
    return folder


def _cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


FILES = {
    "records cut off": ("*train.tfrecord*", _cut, "cannot be read"),
    "records altered": ("*train.tfrecord*", _flip, "cannot be read"),
    "records missing": ("*test.tfrecord*", Path.unlink, "cannot be read"),
    "description not JSON": ("dataset_info.json", lambda p: p.write_text("{"), "cannot be read"),
    "description missing": ("dataset_info.json", Path.unlink, "no prepared cifar10"),
    "features missing": ("features.json", Path.unlink, "cannot be read"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_a_data_set(name, tiny_cifar10, tmp_path):
    pattern, damage, message = FILES[name]
    copy = tmp_path / "tfds"
    shutil.copytree(tiny_cifar10, copy)
    (path,) = copy.rglob(pattern)
    damage(path)
    spec = describe("cifar10", validation_examples=2, train_examples=10)
    _assert_refused(lambda: load(spec, copy), ["cifar10", message])


def _workdir(config="{}", **files):
    folder = Path.cwd().parent / "run"
    folder.mkdir()
    (folder / "config.json").write_text(config)
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


def _config(**fields):
    return json.dumps({**default_config.get_config().to_dict(), **fields})


WORKDIRS = {
    "damaged config": ("{", "config.json cannot be read"),
    "config of another kind": ("[]", "config.json cannot be read"),
    "another run": (_config(seed=9), "another config (seed is 9 there, 0 here)"),
    "unknown field": (_config(sead=9), "another config: config.sead"),
}


@pytest.mark.parametrize("name", WORKDIRS)
def test_workdirs(name, call_program):
    config, message = WORKDIRS[name]
    folder = _workdir(config)
    status, _, err = call_program(train, f"--workdir={folder}")
    assert status == 2 and message in err and err.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_there_are_as_many_cases_as_were_promised():
    tables = (FLAGS, WRAPPING, DATA, ARRAYS, FILES, WORKDIRS)
    assert functools.reduce(lambda total, table: total + len(table), tables, 0) >= 80
