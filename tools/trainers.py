"""Networks that the benchmarks train: dense, wrapped by this toolkit, wrapped by stock TFMOT.

Variants are "dense", "tf_earlyticket", "tfmot", a mask update such as "swap", and `DISTILLATION`.
"""

import time

import benchmarking
import numpy as np

from tf_earlyticket.config import Config
from tf_earlyticket.deploy import timing

DISTILLATION = "distillation"
# No update within a measurement, yet a begin, so that schedules are evaluated at every step.
_FAR = 10**8


def _config(network: str, side: int, framework: str) -> Config:
    config = Config()
    config.model.name, config.model.keras = network, framework
    config.data.name = "imagenet2012" if side == 64 else "cifar10"
    config.data.image_size = side
    return config


def _batches(config: Config, batch: int):
    import tensorflow as tf

    from tf_earlyticket.job.build import dataset_spec

    spec = dataset_spec(config)
    random = np.random.RandomState(0)
    images = random.normal(size=(batch, *spec.image_shape)).astype(np.float32)
    labels = random.randint(0, spec.num_classes, batch).astype(np.int32)
    return tf.data.Dataset.from_tensors((images, labels)).repeat()


def _compile(model, keras, jit: bool) -> None:
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=jit,
    )


def _wrap(model, variant: str, data):
    import tf_earlyticket as et

    ramp = {"ramp_steps": _FAR, "frequency": _FAR}
    if variant == "tf_earlyticket":
        schedule = et.EarlyTicketPolynomialDecay(0.8, begin_step=10, **ramp)
        return et.wrap_for_pruning(model, schedule), [et.MaskUpdate()]
    # From the first step on half of the weights are pruned, and they may return.
    schedule = et.EarlyTicketPolynomialDecay(0.8, initial_sparsity=0.5, begin_step=0, **ramp)
    update = "shrink" if variant == DISTILLATION else variant
    return et.wrap_for_pruning(model, schedule, update=update), [et.MaskUpdate(data.take(1))]


def _teach(model, variant: str) -> None:
    import tf_earlyticket as et
    from tf_earlyticket.backends import pruned

    if variant == DISTILLATION:
        adapter = pruned(model)
        adapter.prepare()
        et.Distillation().begin(adapter)
        # Else the callback would take it for that of a `fit` that was interrupted.
        adapter.add_to_loss = lambda more: None


class _Updating:
    """Makes mask updates of the variants that are named after one."""

    callbacks: list
    _pruned_to = 0.5

    def update(self) -> float:
        """Makes a mask update in the middle of the ramp; returns its seconds."""
        self._pruned_to += 0.01
        return timing.seconds(lambda: self.callbacks[0].prune_to(self._pruned_to, _FAR // 2))


class StepTimes:
    """Makes a callback of a Keras that notes when each step of a `fit` ended."""

    def __init__(self, keras):
        self.ends: list[float] = []
        ends = self.ends

        class Note(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                ends.append(time.perf_counter())

        self.callback = Note()


class Trainer(_Updating):
    """One variant of a tf_keras network, compiled, with what it needs to train by `fit`."""

    def __init__(self, variant: str, network: str, side: int, batch: int, strategy, jit: bool):
        from tf_earlyticket.backends.tf_keras.compat import keras, tfmot
        from tf_earlyticket.job.build import build_plain_model

        self._keras = keras
        config = _config(network, side, "tf_keras")
        self._data = _batches(config, batch)
        self.callbacks = []
        with strategy.scope():
            model = build_plain_model(config)
            if variant == "tfmot":
                schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, 0.8, 10, _FAR, frequency=_FAR)
                model = benchmarking.wrap_by_tfmot(model, schedule)
                self.callbacks = [tfmot.sparsity.keras.UpdatePruningStep()]
            elif variant != "dense":
                model, self.callbacks = _wrap(model, variant, self._data)
            _compile(model, keras, jit)
            _teach(model, variant)
        self.model = model
        self._strategy = strategy
        self._step = 0

    def begin(self) -> None:
        """Prepares to be called step by step, as `fit` does it."""
        self._list = self._keras.callbacks.CallbackList(
            self.callbacks, add_history=True, model=self.model, verbose=0, epochs=1
        )
        self._train = self.model.make_train_function()
        data = self._strategy.experimental_distribute_dataset(self._data)
        self._iterator = iter(data)
        self._list.on_train_begin()
        self.model.reset_metrics()
        self._list.on_epoch_begin(0)

    def step(self) -> float:
        """Makes one step, callbacks included; returns the seconds until its loss is known."""
        started = time.perf_counter()
        self._list.on_train_batch_begin(self._step)
        logs = self._train(self._iterator)
        self._list.on_train_batch_end(self._step, logs)
        float(logs["loss"])
        self._step += 1
        return time.perf_counter() - started

    def fit(self, steps: int) -> tuple[float, list[float]]:
        """Trains so many steps; returns when that began and when each step ended."""
        times = StepTimes(self._keras)
        began = time.perf_counter()
        self.model.fit(
            self._data,
            steps_per_epoch=steps,
            epochs=1,
            verbose=0,
            callbacks=[*self.callbacks, times.callback],
        )
        return began, times.ends


class Keras3Trainer(_Updating):
    """The same of a Keras 3 network, on the backend of this process, in `fit` of a few steps."""

    def __init__(self, variant: str, network: str, side: int, batch: int, steps: int):
        from tf_earlyticket.backends.keras3.compat import keras
        from tf_earlyticket.job.build import build_plain_model

        config = _config(network, side, "keras")
        self._data = _batches(config, batch)
        self._model, self.callbacks = build_plain_model(config), []
        if variant != "dense":
            self._model, self.callbacks = _wrap(self._model, variant, self._data)
        # JAX has no other way.
        _compile(self._model, keras, keras.backend.backend() == "jax")
        _teach(self._model, variant)
        self._steps = steps
        self._times = times = []

        class Note(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                # Before the second, masks are checked, once an epoch.
                if batch == 1:
                    times.append(time.perf_counter())

            def on_epoch_end(self, epoch, logs=None):
                # By now the metrics are numbers: all steps are done.
                times.append(time.perf_counter())

        self._note = Note()

    def step(self) -> float:
        """Makes a few steps by `fit`; returns the mean seconds of those after its second."""
        self._times.clear()
        self._model.fit(
            self._data,
            steps_per_epoch=self._steps + 2,
            epochs=1,
            verbose=0,
            # First, so that it notes the end of the epoch before masks are checked there.
            callbacks=[self._note, *self.callbacks],
        )
        second, end = self._times
        return (end - second) / self._steps
