"""The config of `python -m tf_earlyticket.train` without flags: digits, ResNet20."""

from tf_earlyticket.config import Config


def get_config(variant=None):
    """Returns the default `Config`; `smoke` and `study` are the same job, shorter."""
    config = Config()
    # Accuracy on fewer images is too coarse to see it saturate.
    config.data.validation_examples = 300
    if variant == "smoke":
        config.train.epochs = 8
        config.train.drop_epochs = (5, 7)
    elif variant == "study":
        config.train.epochs = 40
        config.train.drop_epochs = (24, 32)
    elif variant is not None:
        raise ValueError(f"variant {variant!r}: expected smoke, study or none.")
    return config
