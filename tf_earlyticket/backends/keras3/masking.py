"""How a Keras 3 optimizer keeps pruned weights at zero, and out of what moves the others."""

from tf_earlyticket.backends.keras3.compat import keras

_optimizers = keras.optimizers
# Exactly these: a subclass may do otherwise.
_ELEMENT_WISE = (
    _optimizers.SGD,
    _optimizers.Adam,
    _optimizers.AdamW,
    _optimizers.Adamax,
    _optimizers.Adagrad,
    _optimizers.Adadelta,
    _optimizers.Ftrl,
    _optimizers.Lion,
    _optimizers.Nadam,
    _optimizers.RMSprop,
)


class MaskConstraint(keras.constraints.Constraint):
    """Keeps pruned weights at zero: the optimizer applies it after every update.

    Args:
        mask: The optimizer's variable, True = kept.
        inner: The user's own constraint of the weight, applied first.
    """

    def __init__(self, mask, inner=None):
        self.mask, self.inner = mask, inner

    def __call__(self, w):
        """Returns the weight with zeros where the mask is False."""
        if self.inner is not None:
            w = self.inner(w)
        return masked_array(w, self.mask)


def masked_array(values, mask):
    """Returns values as a tensor, zero where a mask is False, whatever they are there."""
    values = keras.ops.convert_to_tensor(values)
    return keras.ops.where(keras.ops.convert_to_tensor(mask), values, keras.ops.zeros_like(values))


def moves_each_weight_by_itself(optimizer) -> bool:
    """Tells whether what the optimizer knows of a pruned weight moves no other weight."""
    clips = optimizer.clipnorm is not None or optimizer.global_clipnorm is not None
    return type(optimizer) in _ELEMENT_WISE and not clips


def mask_gradients(optimizer, weights: dict[str, object], masks: dict[str, object]) -> None:
    """Lets an optimizer see no gradient of a pruned weight, such as in the norm of all gradients.

    The constraint keeps pruned weights at zero, but comes after the others have been moved.
    """
    of_variable = {id(weight): masks[name] for name, weight in weights.items()}
    apply = optimizer.apply

    def apply_masked(grads, trainable_variables=None):
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
        variables = trainable_variables or optimizer._trainable_variables
        masked = [
            gradient
            if gradient is None or id(variable) not in of_variable
            else masked_array(gradient, of_variable[id(variable)])
            for gradient, variable in zip(grads, variables, strict=True)
        ]
        return apply(masked, trainable_variables)

    # The training step of every backend ends in this method.
    optimizer.apply = apply_masked
