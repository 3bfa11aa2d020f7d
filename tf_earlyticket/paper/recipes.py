"""The configs of `python -m tf_earlyticket.reproduce`, by item and scale ("fig1.small").

paper: the paper's recipe and schedule (appendix A): ResNet20 on CIFAR-10, 200 epochs; ResNet56 for
    Fig. 6; ResNet18 on ImageNet, 90 epochs, for Table 3.
small: 16 epochs with the drops in proportion, for a machine of a few cores. Fig. 2, 3, 4 and
    Table 4 train ResNet20 on all of CIFAR-10 at 80 % sparsity. The grids train ResNet8 on half of
    it at 90 %, a sparsity at which a network of that size suffers visibly. Table 3 has small
    images, and a tenth of them; it needs an accelerator all the same.
smoke: ResNet8 on a few digits, for all items: shows that they run, and no number worth reporting.

Items of one scale with the same config share their dense runs.
"""

from tf_earlyticket import checks
from tf_earlyticket.config import Config

_CIFAR10 = {
    "data.name": "cifar10",
    "model.name": "resnet20",
    "train.epochs": 200,
    "train.batch_size": 128,
    "train.learning_rate": 0.1,
    "train.drop_epochs": (120, 160),
    "pruning.final_sparsity": 0.8,
    "probe.learning_rate": 0.01,
}
_SHORT_CIFAR10 = _CIFAR10 | {
    "train.dtype_policy": "mixed_bfloat16",
    "train.epochs": 16,
    "train.drop_epochs": (10, 13),
}
_HALF_OF_CIFAR10 = {
    "model.name": "resnet8",
    "data.train_examples": 22_500,
    "pruning.final_sparsity": 0.9,
}
_IMAGENET = _CIFAR10 | {
    "data.name": "imagenet2012",
    "model.name": "resnet18",
    "train.epochs": 90,
    "train.batch_size": 256,
    "train.drop_epochs": (30, 60),
    "train.dtype_policy": "mixed_bfloat16",
    "probe.every_epochs": 5,
}
_SMALL_IMAGENET = {
    "data.image_size": 64,
    "data.train_examples": 51_200,
    "train.epochs": 18,
    "train.drop_epochs": (6, 12),
    "probe.every_epochs": 1,
}
_SMOKE = {
    "data.train_examples": 256,
    "model.name": "resnet8",
    "train.epochs": 4,
    "train.batch_size": 32,
    "train.drop_epochs": (2, 3),
}
_DEEP = {"model.name": "resnet56"}
# What differs from the defaults at the scales "paper" and "small".
RECIPES = {
    # Of items that look at one dense run closely, and of those that train many tickets.
    "network": (_CIFAR10, _SHORT_CIFAR10),
    "deep_network": (_CIFAR10 | _DEEP, _SHORT_CIFAR10 | _DEEP),
    "grid": (_CIFAR10, _SHORT_CIFAR10 | _HALF_OF_CIFAR10),
    "imagenet": (_IMAGENET, _IMAGENET | _SMALL_IMAGENET),
}


def get_config(variant=None):
    """Returns the config of "<item>.<scale>"."""
    from tf_earlyticket.paper.item import ITEMS, SCALES

    item, _, scale = (variant or "fig1.paper").partition(".")
    return ITEMS.get(item).config(checks.choice("scale", scale, SCALES))


def recipe(name: str, scale: str) -> Config:
    """Returns the config of one of `RECIPES` at a scale."""
    paper, small = RECIPES[name]
    config = Config()
    # Interrupted or not, a reproduction gives the same numbers.
    config.train.deterministic, config.train.dense_baseline = True, False
    for path, value in {"paper": paper, "small": small, "smoke": _SMOKE}[scale].items():
        section, _, field = path.partition(".")
        setattr(getattr(config, section), field, value)
    return config
