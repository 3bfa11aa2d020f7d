"""Fine-tuning: a network of yours, saved by Keras, becomes a ticket on your own pictures.

    python -m tf_earlyticket.train --config=configs/finetune.py --config.model.file=mine.keras \
        --data_dir=pictures

`pictures` is a folder of classes, see `docs/data.md`; `--config.data.name` takes other sets. Adam
with a small learning rate that falls to zero along a cosine, after one epoch of warm-up; nothing
decays, so that what the network knows stays. Kernels of the network are pruned as by default: all
but the first convolution and the classifier. 20 epochs; `small` has 8.
"""

from tf_earlyticket.config import Config


def get_config(variant=None):
    """Returns the config; `variant` is None or "small"."""
    config = Config()
    config.data.name = "folder"
    config.train.epochs = 20
    config.train.batch_size = 32
    config.train.optimizer = "adam"
    config.train.learning_rate = 1e-3
    config.train.schedule = "cosine"
    config.train.warmup_epochs = 1
    config.train.weight_decay = 0.0
    if variant == "small":
        config.train.epochs = 8
    elif variant is not None:
        raise ValueError(f"variant {variant!r}: expected small or none.")
    return config
