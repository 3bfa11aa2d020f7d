"""ImageNet (ILSVRC-2012), ResNet50 (paper Table 3 and 4).

    python -m tf_earlyticket.train --config=configs/imagenet_resnet50.py --data_dir=DIR
    python -m tf_earlyticket.train --config=configs/imagenet_resnet50.py:smoke --data_dir=DIR

DIR holds `imagenet2012/` as TFDS prepares it. Without ImageNet, the smoke variant runs on
synthetic pictures in the same format:

    python tools/make_tiny_tfds.py --output_dir=DIR --examples_train=320

Recipe (paper, appendix A.2): SGD with momentum 0.9, weight decay 1e-4, batch 256, 90 epochs,
learning rate 0.1, divided by 10 after epochs 30 and 60; random resized crop to 224 and flip,
evaluation on the centre crop; a probe every 5 epochs. 25,000 training images are held out for the
probes, which the paper does not do. `dtype_policy` is mixed bfloat16, for GPUs and TPUs that have
it; set `float32` to repeat the paper's arithmetic.

Cost: 90 epochs for the ticket, at most 4.5 more for the probes.
Result in the paper: dense 75.7 %; ticket at 80 %: 75.31 %, in 22 % of the epochs
of iterative pruning.
This recipe was not run here.

`smoke` (64x64 pictures, 256 examples, 4 epochs; a minute or two on 2 cores) shows that everything
works together and no accuracy worth reporting.
"""

from tf_earlyticket.config import Config


def get_config(variant=None):
    """Returns the config; `variant` is None or "smoke"."""
    config = Config()
    config.data.name = "imagenet2012"
    config.model.name = "resnet50"
    config.train.epochs = 90
    config.train.batch_size = 256
    config.train.learning_rate = 0.1
    config.train.drop_epochs = (30, 60)
    config.train.momentum = 0.9
    config.train.weight_decay = 1e-4
    config.train.dtype_policy = "mixed_bfloat16"
    config.train.dense_baseline = False
    config.pruning.final_sparsity = 0.8
    config.probe.every_epochs = 5
    config.probe.learning_rate = 0.01
    if variant == "smoke":
        config.data.image_size = 64
        config.data.train_examples = 256
        config.data.validation_examples = 64
        config.train.epochs = 4
        config.train.batch_size = 32
        config.train.drop_epochs = (2, 3)
        config.probe.every_epochs = 1
    elif variant is not None:
        raise ValueError(f"variant {variant!r}: expected smoke or none.")
    return config
