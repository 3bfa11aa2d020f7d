"""One suite for every Keras: `FRAMEWORK` names the one under test, tf_keras by default.

A process has one backend of Keras 3, so `every_keras_test.py` runs the suite in others.
"""

import os

import numpy as np
import pytest

FRAMEWORK = os.environ.get("FRAMEWORK", "tf_keras")
# Of layers and configs, which Keras 3 has in common on TensorFlow and JAX: slow on the latter.
OF_KERAS_ALONE = (
    *("channels", "choice", "copies", "costs"),
    *("data", "layers", "patterns", "sensitivity"),
)
# Tests that JAX compiles for ten seconds and more, whose siblings say as much of it: slow there.
LONG_TO_COMPILE = (
    "test_layers_inside_of_wrappers_are_chosen",
    "test_a_ticket_serves_pictures_as_they_are",
    "test_a_sparsity_is_told_of_the_whole_network_too",
    "test_recurrent_layers_become_tflite_files_for_one_example",
    "test_two_of_four_are_kept_everywhere_after_a_ramp",
    "test_a_model_is_exported_however_its_inputs_are_given",
    "test_statistics_survive_wrapping_tickets_and_export",
    "test_half_of_all_channels_of_every_kind_of_layer",
    "test_a_ticket_of_another_network_is_refused",
    "test_a_rewound_ticket_trains_sparse_without_a_callback",
)
# Tests of what Keras 3 does alike on each backend, quick on JAX: slow on TensorFlow.
QUICK_ON_JAX = (
    "test_a_ticket_comes_back_and_trains",
    "test_arrays_and_data_sets_give_the_same_ticket",
    "test_masks_survive_another_compile",
    "test_memorization_is_measured_on_a_sparse_copy",
    "test_weights_from_a_file_come_with_their_masks",
)
# Of callbacks and reports, which no backend of Keras 3 knows of: its backends share the other tests
# of a file by turns, and what the other one has is slow.
BY_TURNS = ("behaviour", "fit", "reported")
# Left out where its runtimes are not installed, which each backend tells of.
ON_EACH_BACKEND = ("test_a_ticket_becomes_files_of_other_runtimes",)
# Tests of many cases, all of which run under tf_keras: under Keras 3 the first, others are slow.
OF_MANY_CASES = (
    "test_any_metric_is_read_in_its_own_direction",
    "test_early_stopping_chooses_among_epochs_at_the_final_sparsity",
    "test_pruning_under_an_optimizer",
    "test_the_best_epoch_in_a_file_is_one_at_the_final_sparsity",
    "test_the_learning_rate_is_settable_and_restored",
    "test_training_that_diverges_ends_as_others_say_or_in_an_error_of_the_run",
    "test_vocabularies_survive_wrapping_tickets_and_export",
    "test_what_fit_has_just_evaluated_is_not_evaluated_again",
    "test_a_model_is_exported_however_its_inputs_are_given",
    "test_a_small_network_trains_on_as_the_masked_one_does",
    "test_everything_is_restored_bit_for_bit",
    "test_weights_from_a_file_come_with_their_masks",
)


def pytest_collection_modifyitems(items):
    """Leaves repetitions of Keras 3, or of a backend, to the slow tests; the first stays fast."""
    seen, turns = set(), {}
    for item in items if FRAMEWORK != "tf_keras" else ():
        file = item.path.stem.removesuffix("_test")
        placed = (*QUICK_ON_JAX, *LONG_TO_COMPILE, *ON_EACH_BACKEND)
        if file in BY_TURNS and item.originalname not in placed:
            tests = turns.setdefault(file, [])
            if item.originalname not in tests:
                tests.append(item.originalname)
            other = "keras_tensorflow" if tests.index(item.originalname) % 2 else "keras_jax"
            if other == FRAMEWORK:
                item.add_marker(pytest.mark.slow)
        kind = item.originalname if item.originalname in OF_MANY_CASES else None
        if FRAMEWORK == "keras_tensorflow" and item.originalname in QUICK_ON_JAX:
            item.add_marker(pytest.mark.slow)
        if FRAMEWORK == "keras_jax":
            if item.originalname in LONG_TO_COMPILE:
                item.add_marker(pytest.mark.slow)
            elif file in OF_KERAS_ALONE:
                kind = item.path
        if kind in seen:
            item.add_marker(pytest.mark.slow)
        if kind is not None:
            seen.add(kind)


@pytest.fixture(scope="session")
def keras():
    """The Keras under test."""
    if FRAMEWORK == "tf_keras":
        from tf_earlyticket.backends.tf_keras.compat import keras
    else:
        import keras

        assert f"keras_{keras.backend.backend()}" == FRAMEWORK
    return keras


@pytest.fixture(scope="session")
def network(keras):
    """Returns a function that makes a small network, always the same one."""

    def make(seed=1):
        keras.utils.set_random_seed(seed)
        layers = keras.layers
        return keras.Sequential(
            [
                layers.Input((8, 8, 1)),
                layers.Conv2D(4, 3, padding="same", activation="relu", name="stem"),
                layers.Conv2D(8, 3, strides=2, use_bias=False, name="middle"),
                layers.BatchNormalization(name="norm"),
                layers.ReLU(),
                layers.Dropout(0.1, seed=5),
                layers.Conv2D(8, 3, padding="same", activation="relu", name="last_conv"),
                layers.GlobalAveragePooling2D(),
                layers.Dense(3, name="classifier"),
            ]
        )

    return make


@pytest.fixture(scope="session")
def compiled(keras):
    """Returns a function that compiles a model."""

    def compile_model(model, optimizer=None, **options):
        model.compile(
            optimizer or keras.optimizers.SGD(0.05, momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            **options,
        )
        return model

    return compile_model


@pytest.fixture(scope="session")
def examples():
    """96 images of 3 classes that can be learned."""
    random = np.random.RandomState(0)
    labels = random.randint(0, 3, 96).astype(np.int32)
    images = random.normal(size=(96, 8, 8, 1)).astype(np.float32)
    images += labels[:, None, None, None] * np.linspace(-1, 1, 8, dtype=np.float32)[:, None]
    return images, labels


@pytest.fixture(scope="session")
def make_data(examples):
    """Returns a function that makes (training, validation): 6 and 2 batches."""
    import tensorflow as tf

    def make():
        whole = tf.data.Dataset.from_tensor_slices(examples)
        return whole.shuffle(96, seed=3).batch(16), whole.take(32).batch(16)

    return make


@pytest.fixture
def data(make_data):
    """(training, validation): 6 and 2 batches."""
    return make_data()


@pytest.fixture
def run_config(keras):
    """The config of a run of four epochs of four steps, with two convolutions."""
    import tf_earlyticket as et

    def make(input_shape, num_classes, weight_decay, framework):
        layers = keras.layers
        return keras.Sequential(
            [
                layers.Input(input_shape),
                layers.Conv2D(4, 3, strides=2, activation="relu", name="first"),
                layers.Conv2D(8, 3, strides=2, activation="relu", name="second"),
                layers.Flatten(),
                layers.Dense(num_classes, name="classifier"),
            ]
        )

    et.register_model("two_convolutions", make)
    config = et.Config()
    config.data.train_examples, config.data.validation_examples = 128, 100
    config.model.name = "two_convolutions"
    config.model.keras = "tf_keras" if FRAMEWORK == "tf_keras" else "keras"
    config.train.epochs, config.train.batch_size, config.train.drop_epochs = 4, 32, (3,)
    config.pruning.rewind_epoch = config.pruning.ramp_epochs = config.pruning.hold_epochs = 1
    config.probe.every_epochs = 1
    return config


@pytest.fixture
def bfloat16(keras):
    """Makes networks compute in bfloat16."""
    if FRAMEWORK == "tf_keras":
        get, choose = keras.mixed_precision.global_policy, keras.mixed_precision.set_global_policy
    else:
        get, choose = keras.config.dtype_policy, keras.config.set_dtype_policy
    before = get()
    choose("mixed_bfloat16")
    yield
    choose(before)
