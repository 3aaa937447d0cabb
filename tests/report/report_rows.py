"""Five rows as leaderboard.Row.plain() gives them: two good ones, an unusual one, a failure and a duplicate."""

from typing import Any

SMALL = {
    "architecture": [{"conv": {"filters": 16, "kernel": 3}}, {"global_pool": "average"}, {"linear": {"units": 10}}],
    "hyperparameters": {"batch_size": 256, "optimizer": {"adamw": {"learning_rate": 0.0031, "weight_decay": 0.01}}},
}
LARGE = {
    "architecture": [
        {"conv": {"filters": 64, "kernel": 5}},
        {"activation": "gelu"},
        {"residual": [{"conv": {"filters": 64, "kernel": 3}}, {"norm": "batch"}]},
        {"identity": {}},
        {"linear": {"units": 10}},
    ],
    "hyperparameters": {"batch_size": 1024, "optimizer": {"sgd": {"learning_rate": 0.25, "momentum": 0.9}}},
}
LARGE_LINE = (
    "conv 64 k5 > gelu > 3x[residual(conv 64 k3 > norm batch > relu > conv 64 k3 > norm batch)] > max_pool 2 > "
    "2x[inverted_residual x6] > identity > global_pool > dropout 0.25 > linear 10"
)


def row(trial: int, **changes: Any) -> dict[str, Any]:
    return {
        "rank": None,
        "front": None,
        "run": "digits",
        "trial": trial,
        "state": "completed",
        "failure": None,
        "reward": None,
        "replicates": {},
        "metrics": {},
        "parameters": None,
        "flops": None,
        "seconds": None,
        "reached": None,
        "whole": True,
        "dtype": "float32",
        "other_dtype": False,
        "fallbacks": [],
        "spent": {},
        "noise_scale": {},
        "weight_norm": {},
        "architecture": "conv 16 k3 > global_pool > linear 10",
        "hyperparameters": SMALL["hyperparameters"],
        "candidate": SMALL,
        "decisions": {"architecture.0.conv.filters": 0, "hyperparameters.optimizer:adamw.learning_rate": 0.0031},
        "hash": f"{trial:064x}",
        "attempts": 1,
        "audit": {},
    } | changes


def measured(accuracy: float, loss: float, parameters: int) -> dict[str, Any]:
    metrics = {
        "accuracy": accuracy,
        "loss": loss,
        "parameters": float(parameters),
        "flops": parameters * 120.0,
        "rows_per_second": 12345.678,
        "peak_memory": 1.5e8,
        "train_seconds": 3.21,
    }
    return {"reward": accuracy, "metrics": metrics, "parameters": parameters, "flops": parameters * 120}


ROWS = [
    row(
        12,
        rank=1,
        **measured(0.98333, 0.0712, 36_400),
        seconds=4.125,
        spent={"data": 0.05, "forward": 1.1, "backward": 1.96, "optimizer": 0.1, "evaluation": 0.3},
        noise_scale={"samples": 605.25, "measured": 27, "says": "batches beyond about 605 samples help little"},
        weight_norm={"initial": 4.95, "final": 12.25},
        architecture=LARGE_LINE,
        hyperparameters=LARGE["hyperparameters"],
        candidate=LARGE,
        decisions={
            "architecture.0.conv.filters": 2,
            "architecture.2.repeat[10].of": 1,
            "architecture.2.repeat[2].of": 0,
        },
    ),
    row(3, rank=2, **measured(0.9, 0.25, 1_290), seconds=61.0),
    row(7, rank=3, **measured(0.1 + 0.2, 2.3, 1_290_000), seconds=0.5, attempts=2),
    row(5, state="failed", failure="out_of_memory", seconds=2.0, attempts=3),
    row(9, state="duplicate", **measured(0.9, 0.25, 1_290), attempts=0),
]
