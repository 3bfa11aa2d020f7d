"""The configs of `python -m tf_earlyticket.reproduce`, by item and scale ("fig1.small").

paper: the paper's recipe and schedule (appendix A): ResNet20 on CIFAR-10, 200 epochs; ResNet56 for
    Fig. 6; ResNet18 on ImageNet, 90 epochs, for Table 3.
small: 16 epochs with the drops in proportion, for a machine of a few cores. Fig. 2, 3, 4 and
    Table 4 train ResNet20 on all of CIFAR-10 at 80 % sparsity. The grids train ResNet8 on half of
    it at 90 %, a sparsity at which a network of that size suffers visibly.
smoke: ResNet8 on a few digits, for all items: shows that they run, and no number worth reporting.

Items of one scale with the same config share their dense runs.
"""

from tf_earlyticket import checks
from tf_earlyticket.config import Config


def get_config(variant=None):
    """Returns the config of "<item>.<scale>"."""
    from tf_earlyticket.paper.item import ITEMS, SCALES

    item, _, scale = (variant or "fig1.paper").partition(".")
    return ITEMS.get(item).config(checks.choice("scale", scale, SCALES))


def network_recipe(scale: str) -> Config:
    """Returns the recipe of the items that look at one dense run closely."""
    config = _smoke() if scale == "smoke" else _cifar10()
    if scale == "small":
        config.train.dtype_policy = "mixed_bfloat16"
        config.train.epochs = 16
        config.train.drop_epochs = (10, 13)
    return config


def grid_recipe(scale: str) -> Config:
    """Returns the recipe of the items that train many tickets."""
    config = network_recipe(scale)
    if scale == "small":
        config.model.name = "resnet8"
        config.data.train_examples = 22_500
        config.pruning.final_sparsity = 0.9
    return config


def imagenet_recipe(scale: str) -> Config:
    """Returns the recipe of Table 3; at scale "small" with small images, and a tenth of them."""
    if scale == "smoke":
        return _smoke()
    config = _repeatable()
    config.data.name = "imagenet2012"
    config.model.name = "resnet18"
    config.train.epochs = 90
    config.train.batch_size = 256
    config.train.learning_rate = 0.1
    config.train.drop_epochs = (30, 60)
    config.train.dtype_policy = "mixed_bfloat16"
    config.pruning.final_sparsity = 0.8
    config.probe.every_epochs = 5
    config.probe.learning_rate = 0.01
    if scale == "small":
        config.data.image_size = 64
        config.data.train_examples = 51_200
        config.train.epochs = 18
        config.train.drop_epochs = (6, 12)
        config.probe.every_epochs = 1
    return config


def _repeatable() -> Config:
    # Interrupted or not, a reproduction gives the same numbers.
    config = Config()
    config.train.deterministic = True
    config.train.dense_baseline = False
    return config


def _cifar10() -> Config:
    config = _repeatable()
    config.data.name = "cifar10"
    config.model.name = "resnet20"
    config.train.epochs = 200
    config.train.batch_size = 128
    config.train.learning_rate = 0.1
    config.train.drop_epochs = (120, 160)
    config.pruning.final_sparsity = 0.8
    config.probe.learning_rate = 0.01
    return config


def _smoke() -> Config:
    config = _repeatable()
    config.data.train_examples = 256
    config.model.name = "resnet8"
    config.train.epochs = 4
    config.train.batch_size = 32
    config.train.drop_epochs = (2, 3)
    return config
