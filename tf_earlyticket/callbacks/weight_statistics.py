"""`WeightStatistics`: the standard deviation of each layer's weights per epoch (paper Fig. 2a)."""

from tf_earlyticket.backends import pruned
from tf_earlyticket.callbacks.callback import Callback
from tf_earlyticket.pruning.statistics import weight_statistics


class WeightStatistics(Callback):
    """Records W_std of every prunable weight at the end of each epoch, over kept weights.

    Attributes:
        history: {"epochs": [int, from 1], "layers": {weight name: [float per epoch]}}.
    """

    def __init__(self):
        super().__init__()
        self.history = {"epochs": [], "layers": {}}

    def on_train_begin(self, logs=None):
        """Looks up the prunable weights; an earlier history is kept and continued."""
        self.adapter = pruned(self.model)

    def on_epoch_end(self, epoch, logs=None):
        """Records the epoch."""
        statistics = weight_statistics(self.adapter.weights(), self.adapter.masks())
        self.history["epochs"].append(epoch + 1)
        for name, values in statistics.items():
            self.history["layers"].setdefault(name, []).append(float(values["std"]))
