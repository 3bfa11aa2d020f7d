"""CIFAR-10, ResNet20: the paper's main network (Fig. 1 to 6, Table 2).

    python -m tf_earlyticket.train --config=configs/cifar10_resnet20.py --data_dir=DIR
    python -m tf_earlyticket.train --config=configs/cifar10_resnet20.py:smoke --data_dir=DIR

Recipe (paper, appendix A.1): SGD with momentum 0.9, weight decay 1e-4, batch 128, 200 epochs,
learning rate 0.1, divided by 10 after epochs 120 and 160; pad 4, random crop, flip. 5,000 of the
50,000 training images are held out for the probes, which the paper does not do.

Cost: 200 epochs for the ticket, at most 10 more for the probes. `config.train.dense_baseline`
adds the dense epochs from the start epoch on.
Result in the paper: dense 92.5 %; winning tickets at 80 % from epoch 100 (one-shot) and 75
(gradual). One seed was run to its end, in bfloat16: `docs/paper_scale.md`.

Variants: `paper_probe` probes after every epoch with one whole epoch of retraining, as the paper
does (about twice the cost of dense training up to the start epoch); `small` has 30 epochs with the
drops in proportion, for a machine of a few cores; `study` has 24, for the comparison of detectors
(`docs/detectors.md`); `smoke` is a shortened job on a tenth of the data, a few minutes on 2 cores,
that shows no accuracy worth reporting.
"""

from tf_earlyticket.config import Config


def get_config(variant=None):
    """Returns the config; `variant` is None, "paper_probe", "small", "study" or "smoke"."""
    config = Config()
    config.data.name = "cifar10"
    config.model.name = "resnet20"
    config.train.epochs = 200
    config.train.batch_size = 128
    config.train.learning_rate = 0.1
    config.train.drop_epochs = (120, 160)
    config.train.momentum = 0.9
    config.train.weight_decay = 1e-4
    config.train.dense_baseline = False
    config.pruning.final_sparsity = 0.8
    config.probe.learning_rate = 0.01
    if variant == "paper_probe":
        config.probe.every_epochs = 1
        config.probe.fraction = 1.0
    elif variant == "small":
        config.train.epochs = 30
        config.train.drop_epochs = (18, 24)
        config.train.dtype_policy = "mixed_bfloat16"
        config.train.dense_baseline = True
    elif variant == "study":
        config.train.epochs = 24
        config.train.drop_epochs = (14, 19)
        config.train.dtype_policy = "mixed_bfloat16"
    elif variant == "smoke":
        config.data.train_examples = 4_500
        config.data.validation_examples = 1_000
        config.train.epochs = 10
        config.train.drop_epochs = (6, 8)
        config.train.dtype_policy = "mixed_bfloat16"
        config.train.dense_baseline = True
    elif variant is not None:
        raise ValueError(f"variant {variant!r}: expected paper_probe, small, study, smoke or none.")
    return config
