"""The models that are measured, by the names that the tables give them."""

from ml_collections import ConfigDict

from configs import common

# Model, and hyperparameters beside the defaults.
CASES = {
    "summary statistics (8, 4)": ("summary_stats", {}),
    "Deep Sets (8, 4)/(8, 4)": ("deep_sets", {}),
    "Set Transformer (6, 2 heads, 1 SAB)": ("set_transformer", {}),
    "Set Transformer (8, 8 heads, 4 SABs)": (
        "set_transformer",
        {"hidden_dim": 8, "num_heads": 8, "num_sabs": 4, "output_hidden_dims": (4, 2), "dropout": 0.2},
    ),
}


def config(case: str, batch_size: int | None = None) -> ConfigDict:
    """The config of a case, on the packaged sample."""
    model, hparams = CASES[case]
    found = common.get_config(model)
    found.model.update(hparams)
    if batch_size:
        found.train.batch_size = batch_size
    return found
