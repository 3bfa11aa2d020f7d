"""Trains a network dense on digits and saves it, for examples of fine-tuning.

    python tools/save_dense.py --output=networks/digits_resnet20_seed0.keras --seed=0

With the recipe of the digits job in half of its epochs, as a `.keras` file of tf_keras.
"""

from pathlib import Path

from absl import app, flags

from tf_earlyticket import data
from tf_earlyticket.config import Config
from tf_earlyticket.job.build import build_plain_model, dataset_spec
from tf_earlyticket.job.recipe import compile_model


def main(argv: list[str]) -> None:
    """Trains, evaluates, saves."""
    del argv
    config, output = Config(), Path(flags.FLAGS.output)
    config.seed, config.train.epochs = flags.FLAGS.seed, flags.FLAGS.epochs
    config.model.name = flags.FLAGS.network
    config.train.drop_epochs = tuple(config.train.epochs * part // 5 for part in (3, 4))
    loaded, size = data.load(dataset_spec(config)), config.train.batch_size
    steps, model = loaded.steps_per_epoch(size), build_plain_model(config)
    compile_model(model, config, steps)
    train = loaded.train(size, seed=config.seed)
    model.fit(train, epochs=config.train.epochs, steps_per_epoch=steps, verbose=0)
    print(f"test accuracy {model.evaluate(loaded.test(100), verbose=0)[1]:.4f}")
    output.parent.mkdir(parents=True, exist_ok=True)
    model.save(output)


if __name__ == "__main__":
    flags.DEFINE_string("output", "networks/digits_resnet20_seed0.keras", "The file.")
    flags.DEFINE_string("network", "resnet20", "Its name.")
    flags.DEFINE_integer("epochs", 30, "Epochs.")
    flags.DEFINE_integer("seed", 0, "Of weights and data.")
    app.run(main)
