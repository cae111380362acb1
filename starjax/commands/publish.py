"""The command `starjax publish`: publish a data set in the format of TensorFlow Datasets."""

import argparse
from pathlib import Path

from starjax.commands import cli


def parser() -> cli.Parser:
    """Return the options of the command."""
    options = cli.Parser(
        "publish",
        "Publish a data set in the format of TensorFlow Datasets, without needing TensorFlow.",
        usage="--dataset=DIR [option ...]",
    )
    options.add_argument(
        "--dataset",
        metavar="DIR",
        type=cli.path,
        required=True,
        help="data set made by starjax build, or a packaged one: sample, clusters",
    )
    options.add_argument(
        "--out",
        metavar="DIR",
        type=cli.path,
        help="folder of data sets [$TFDS_DATA_DIR or ~/tensorflow_datasets]",
    )
    options.add_argument(
        "--name", metavar="NAME", default="star_clusters", help="name of the data set [%(default)s]"
    )
    options.add_argument(
        "--version",
        metavar="N.N.N",
        default="1.0.0",
        help="three numbers; raise one if the data change [%(default)s]",
    )
    options.add_argument(
        "--description",
        metavar="TEXT",
        default="",
        help="[the title of README.md in the data set]",
    )
    options.add_argument(
        "--citation", metavar="TEXT", default="", help="[the section '## Cite' of that file]"
    )
    return options


def main(arguments: argparse.Namespace) -> None:
    """Publish the data set and print what it contains."""
    from starjax.commands.build import print_split_counts
    from starjax.datasets import tfds_directory, tfds_publisher, tfds_reader
    from starjax.datasets.dataset import TFDS
    from starjax.io import files

    data_dir = Path(arguments.out) if arguments.out else tfds_directory.data_dir()
    out = tfds_publisher.publish_dataset(
        arguments.dataset,
        data_dir,
        arguments.name,
        arguments.version,
        arguments.description,
        arguments.citation,
    )
    metadata = files.read_json(out / tfds_reader.METADATA)[tfds_reader.METADATA_KEY]
    print_split_counts(metadata["splits"])
    # By name, if that is enough to find it again.
    is_found = data_dir.absolute() == tfds_directory.data_dir().absolute()
    name = f"{arguments.name}:{arguments.version}" if is_found else out.absolute()
    print(f"published {out}; to train from it: --config.data.dataset={TFDS}{name}")
