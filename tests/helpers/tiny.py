"""A run of 4 epochs of 3 steps on a few digits."""

from tf_earlyticket.config import Config


def tiny_config():
    config = Config()
    config.data.train_examples = 96
    config.data.validation_examples = 64
    config.model.name = "resnet8"
    config.train.epochs = 4
    config.train.batch_size = 32
    config.train.drop_epochs = (2, 3)
    return config
