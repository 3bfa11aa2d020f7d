"""Digits, ResNet20: the job that runs without flags.

    python -m tf_earlyticket.train --config=configs/digits_resnet20.py
    python -m tf_earlyticket.train --config=configs/digits_resnet20.py:smoke

Data: scikit-learn's 1,797 real handwritten digits, enlarged to 16x16; nothing is downloaded. 500
are the test set, 300 are held out for the probes.
Recipe: as for CIFAR-10 in the paper (SGD with momentum 0.9, weight decay 1e-4, learning rate 0.1
divided by 10 after 60 % and 80 % of the epochs), with batch 32, 60 epochs and no flip.

Cost and result: `results/digits_resnet20/README.md`, from three seeds on 2 CPU cores; two to three
minutes each. `smoke` is the same job in 8 epochs, under a minute; `study` has 40, for the
comparison of detectors (`docs/detectors.md`).
"""

from tf_earlyticket.job.default_config import get_config

__all__ = ["get_config"]
