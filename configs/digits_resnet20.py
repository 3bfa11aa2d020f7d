"""Digits, ResNet20: the job that runs without flags. Everything else is compared with it first.

    python -m tf_earlyticket.train --config=configs/digits_resnet20.py

Data: scikit-learn's 1,797 real handwritten digits, enlarged to 16x16; nothing is downloaded.
"""

from tf_earlyticket.default_config import get_config

__all__ = ["get_config"]
