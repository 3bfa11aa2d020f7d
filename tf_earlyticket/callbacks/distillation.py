"""`Distillation`: the network as it was before pruning teaches the pruned one."""

from collections.abc import Mapping

import numpy as np

from tf_earlyticket import checks
from tf_earlyticket.backends import backend_of
from tf_earlyticket.backends.base import PrunedModel


class Distillation:
    """Adds a soft loss to training steps from the start of pruning on; for `et.EarlyTicket`.

    The teacher is the network itself with the weights of the start epoch, so no second one is
    trained. From then on the loss of each step gets `weight` * `temperature`^2 times the
    Kullback-Leibler divergence of the network's predictions from the teacher's, both softened by
    the temperature (Hinton et al. 2015). Evaluation, probes and scores of weights are without it.
    It takes two more copies of all weights in memory, the teacher and `weights` on the host, and
    one more forward pass in each step.
    A teacher that knows little does harm: give it a late start.

    Args:
        weight: Of the soft loss, beside the loss of `compile`, which stays whole.
        temperature: By which logits are divided.

    Attributes:
        weights: The teacher's, arrays by name; None before the start. A later `fit` goes on with
            them; in a new process, set them before a `fit` that goes on after the start.

    Raises:
        InputError: A value is not above 0; when `fit` starts, before training, if the network has
            several outputs or ends in a softmax or sigmoid, trains on several devices, or its
            schedule has no start epoch.

    Example:
        >>> ticket = et.EarlyTicket(train, val, distillation=et.Distillation(0.5, temperature=4))
        >>> model.fit(train, validation_data=val, epochs=60, callbacks=[ticket])
    """

    def __init__(self, weight: float = 1.0, temperature: float = 4.0):
        self._weight = checks.number("weight", weight, above=0)
        self._temperature = checks.number("temperature", temperature, above=0)
        self.weights: Mapping[str, np.ndarray] | None = None

    def __repr__(self) -> str:
        return f"Distillation({self._weight}, temperature={self._temperature})"

    def check(self, model) -> None:
        """Checks that a model can be taught.

        Raises:
            InputError: If it cannot.
        """
        outputs = getattr(model, "outputs", None) or []
        if len(outputs) != 1:
            raise checks.refuse("distillation", len(outputs), "a model with one output")
        if outputs[0].shape[-1] == 1:
            raise checks.refuse("distillation", "one logit", "a logit for each class")
        last = model
        # Of a network within, or a wrapper, what is inside.
        while inside := getattr(last, "layers", None) or getattr(last, "layer", None):
            last = inside[-1] if isinstance(inside, (list, tuple)) else inside
        named = getattr(getattr(last, "activation", None), "__name__", "")
        for name in ("softmax", "sigmoid"):
            if name in (named, type(last).__name__.lower()):
                raise checks.refuse("distillation", name, "a model that ends in logits")
        devices = getattr(getattr(model, "distribute_strategy", None), "num_replicas_in_sync", 1)
        if devices > 1:
            raise checks.refuse("distillation", f"{devices} devices", "one device with it")

    def begin(self, adapter: PrunedModel) -> None:
        """Makes the present network the teacher."""
        self.weights = adapter.all_weights()
        self.resume(adapter)

    def resume(self, adapter: PrunedModel) -> None:
        """Goes on with the teacher's weights.

        Raises:
            InputError: If there are none.
        """
        if self.weights is None:
            expected = "those of the start of pruning, which was before this fit"
            raise checks.refuse("distillation.weights", None, expected)
        backend, model = backend_of(adapter.model), adapter.model
        # A copy draws random numbers that the training would draw.
        with adapter.sandbox():
            teacher = backend.strip(model)
        backend.write_weights(teacher, self.weights)
        teacher.trainable = False
        losses, softmax = backend.keras.losses, backend.keras.activations.softmax
        cross_entropy = losses.CategoricalCrossentropy(from_logits=True)
        temperature, weight = self._temperature, self._weight * self._temperature**2
        dtype = backend.keras.backend.floatx()

        def soft_loss(loss, inputs, logits, sample_weight):
            # Of 16 bits, tf_keras would not add it to penalties of 32.
            logits = backend.cast(logits, dtype)
            # Else gradients in the teacher's weights are traced, though none is asked for.
            taught = backend.stop_gradient(teacher(inputs, training=False))
            taught = backend.cast(taught, dtype) / temperature
            target = softmax(taught)
            # Less the target's own entropy: nothing where the two agree.
            apart = cross_entropy(target, logits / temperature, sample_weight)
            own = cross_entropy(target, taught, sample_weight)
            return backend.cast(loss, dtype) + weight * (apart - own)

        adapter.add_to_loss(soft_loss)

    def end(self, adapter: PrunedModel) -> None:
        """Leaves the model's loss as it was."""
        adapter.add_to_loss(None)
