"""Measure the training throughput of the usual PyTorch way: a Dataset, a DataLoader with workers, nn modules.

    python -m benchmarks.torch_baseline --case='Deep Sets (8, 4)/(8, 4)'

benchmarks.train_step starts it in a process of its own. It needs the extra `benchmark`. The models are those
of starjax, with the same number of parameters; only the cases and the packaged sample are imported from
starjax.
"""

import argparse
import json
import time

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks import cases
from starjax.datasets.load import load_dataset


class Clusters(Dataset):
    """Random subsets of the stars of a snapshot, drawn like those of `starjax.sampling.sampler`, in numpy."""

    def __init__(self, shard, config):
        self.shard, self.config = shard, config
        self.rng = None

    def __len__(self):
        return self.shard.num_snapshot * self.config.num_sample_per_snapshot

    def __getitem__(self, index):
        if self.rng is None:  # one per worker process
            self.rng = np.random.default_rng(torch.initial_seed() % 2**63)
        config, size = self.config, self.config.num_star_per_sample
        snapshot = index // config.num_sample_per_snapshot
        first, last = self.shard.ptr[snapshot], self.shard.ptr[snapshot + 1]
        num_kept = last - first
        rows = np.arange(first, last)
        if num_kept >= size:
            rows = first + self.rng.permutation(last - first)[:size]
            num_kept = size
            if self.rng.random() < config.drop_probability:
                ratio = self.rng.uniform(*config.drop_ratio_range)
                num_kept = size - min(round(ratio * size), size - 1)
        features = np.zeros((size, self.shard.feature.shape[1]), np.float32)
        features[:num_kept] = self.shard.feature[rows[:num_kept]]
        mask = np.arange(size) < num_kept
        return features, mask, self.shard.target[snapshot]


def mlp(num_in, hidden_dims, num_out, dropout):
    layers = []
    for width in hidden_dims:
        layers += [nn.Linear(num_in, width), nn.ReLU(), nn.Dropout(dropout)]
        num_in = width
    return nn.Sequential(*layers, nn.Linear(num_in, num_out))


class SummaryStats(nn.Module):
    def __init__(self, num_feature, hidden_dims, dropout):
        super().__init__()
        self.mlp = mlp(1 + 7 * num_feature, hidden_dims, 1, dropout)

    def forward(self, features, mask):
        real = mask[..., None]
        count = real.sum(1)
        star = features.masked_fill(~real, 0)
        mean = star.sum(1) / count.clamp(min=1)
        squared = ((star - mean[:, None]) ** 2).masked_fill(~real, 0)
        std = (squared.sum(1) / (count - 1).clamp(min=1)).sqrt()
        ordered = features.masked_fill(~real, torch.inf).sort(dim=1).values

        def quantile(q):
            rank = q * (count - 1).float()
            low = rank.floor().long()
            high = torch.minimum(low + 1, count - 1)
            at = [ordered.gather(1, r[:, None].expand(-1, 1, features.shape[2]))[:, 0] for r in (low, high)]
            return torch.lerp(at[0], at[1], rank - low)

        quantiles = [quantile(q) for q in (0.5, 0.0, 1.0, 0.25, 0.75)]
        return self.mlp(torch.cat([count.float(), mean, std, *quantiles], dim=-1))


class DeepSets(nn.Module):
    def __init__(self, num_feature, phi_hidden_dims, rho_hidden_dims, pooling, dropout):
        super().__init__()
        assert pooling == "mean"
        *hidden, num_pooled = phi_hidden_dims
        self.phi = mlp(num_feature, hidden, num_pooled, dropout)
        self.rho = mlp(num_pooled, rho_hidden_dims, 1, dropout)

    def forward(self, features, mask):
        real = mask[..., None]
        pooled = self.phi(features).masked_fill(~real, 0).sum(1)
        return self.rho(pooled / real.sum(1).clamp(min=1))


class Block(nn.Module):
    def __init__(self, num_query, num_key, dim, num_heads, dropout):
        super().__init__()
        self.fc_q, self.fc_k, self.fc_v = (nn.Linear(n, dim) for n in (num_query, num_key, num_key))
        self.attention = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.feed_forward = mlp(dim, (dim,), dim, dropout)
        self.norms = nn.ModuleList([nn.LayerNorm(dim), nn.LayerNorm(dim)])

    def forward(self, x, y, mask):
        q = self.fc_q(x)
        attended, _ = self.attention(
            q, self.fc_k(y), self.fc_v(y), key_padding_mask=~mask, need_weights=False
        )
        h = self.norms[0](q + attended)
        return self.norms[1](h + self.feed_forward(h))


class SetTransformer(nn.Module):
    def __init__(
        self, num_feature, hidden_dim, num_heads, num_sabs, num_seeds, output_hidden_dims, layer_norm, dropout
    ):
        super().__init__()
        assert layer_norm
        inputs = [num_feature] + [hidden_dim] * num_sabs
        self.sabs = nn.ModuleList([Block(n, n, hidden_dim, num_heads, dropout) for n in inputs[:-1]])
        self.pool = Block(hidden_dim, inputs[-1], hidden_dim, num_heads, dropout)
        self.seeds = nn.Parameter(torch.randn(num_seeds, hidden_dim))
        self.decoder = mlp(num_seeds * hidden_dim, output_hidden_dims, 1, dropout)

    def forward(self, features, mask):
        h = features
        for sab in self.sabs:
            h = sab(h, h, mask)
        pooled = self.pool(self.seeds.expand(len(h), -1, -1), h, mask)
        return self.decoder(pooled.flatten(1))


MODELS = {"summary_stats": SummaryStats, "deep_sets": DeepSets, "set_transformer": SetTransformer}


def measure(case: str, num_run: int, max_step: int, num_worker: int, batch_size: int | None) -> dict:
    """Return the samples per second of `num_run` runs of `max_step` steps, after a warm-up run."""
    torch.manual_seed(0)
    config = cases.config(case, batch_size)
    shards = load_dataset(config.data.dataset, config.data.feature_keys, config.data.target_keys).shards
    clusters = Clusters(shards["train"], config.data)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    hparams = {name: value for name, value in config.model.items() if name not in ("name", "dtype")}
    model = MODELS[config.model.name](len(config.data.feature_keys), **hparams).to(device).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), config.optim.learning_rate, weight_decay=config.optim.weight_decay
    )
    loss_of = nn.HuberLoss(delta=config.optim.huber_delta)
    loader = DataLoader(
        clusters,
        config.train.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=num_worker,
        persistent_workers=num_worker > 0,
        pin_memory=device.type == "cuda",
    )

    def batches():
        while True:
            yield from loader

    stream, rates = batches(), []
    for run in range(num_run + 1):
        start = time.perf_counter()
        for _ in range(max_step):
            features, mask, target = (x.to(device, non_blocking=True) for x in next(stream))
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(model(features, mask), target)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), config.optim.clip_norm)
            optimizer.step()
        loss.item()  # waits for the device
        if run > 0:
            rates.append(max_step * config.train.batch_size / (time.perf_counter() - start))
    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "num_params": sum(p.numel() for p in model.parameters()),
        "samples_per_s": rates,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", required=True, choices=cases.CASES)
    parser.add_argument("--num_run", type=int, default=3)
    parser.add_argument("--max_step", type=int, default=20, help="steps of a run")
    parser.add_argument("--num_worker", type=int, default=2, help="processes of the DataLoader")
    parser.add_argument("--batch_size", type=int, help="other than the config's")
    options = parser.parse_args()
    print(
        json.dumps(
            measure(options.case, options.num_run, options.max_step, options.num_worker, options.batch_size)
        )
    )


if __name__ == "__main__":
    main()
