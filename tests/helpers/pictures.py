"""Real pictures in a folder of classes: scikit-learn's digits, written as files."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def write_digits(folder, classes=10, of_each=None, size=(18, 16), mode="L") -> list[Path]:
    """Writes `folder/digit_0/0.png` and so on; returns the files, in the order of the data set.

    Args:
        folder: Where the folders of classes are made.
        classes: Digits from 0 on.
        of_each: Pictures of each class; None: all.
        size: (width, height).
        mode: Of Pillow.
    """
    digits, files = load_digits(n_class=classes), []
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        place = Path(folder) / f"digit_{label}"
        place.mkdir(parents=True, exist_ok=True)
        if of_each is not None and len(list(place.iterdir())) == of_each:
            continue
        picture = Image.fromarray(np.uint8(image * 255 / 16)).resize(size).convert(mode)
        files.append(place / f"{number}.png")
        picture.save(files[-1])
    return files
