"""scaling-lab: fits scaling laws to finished training runs and predicts what larger models will reach.

from scaling_lab import fit, predict
found = fit("chinchilla", frame)
predict(found, {"params": 7e9, "tokens": 2e12})
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .accounting import average_params, unigram_normalised_loss
    from .autolrs import autolrs_forecast
    from .decide.across import Grown, across_sizes
    from .decide.allocate import Allocation, allocate
    from .decide.compare import Comparison, compare
    from .decide.critical import BranchedBatch, CriticalBatch, branched_cbs, cbs
    from .decide.curve_cost import CurveCost, schedule_cost
    from .decide.extrapolate import Extrapolation, extrapolate
    from .decide.forecast import RunForecast, follow, forecast
    from .decide.gains import Losses, schedule_losses
    from .decide.growth import Growth, Speedup, growth, speedup
    from .decide.hparams import Hparams, hparams
    from .decide.hpgrid import GridReport, grid_table, hpgrid
    from .decide.isoflop import envelope, isoflop
    from .decide.lr_moves import BatchMove, HorizonMove, LrSweep, horizon, lr_sweep, rescale
    from .decide.mixture import Cap, Mixture, between_sizes, mixture
    from .decide.mup import MupTransfer, mup
    from .decide.noise import NoiseScale, noise_scale
    from .decide.optimize import Optimum, Shares, annealing_shares, optimize_schedule
    from .decide.pools import PoolChoice, pools
    from .decide.regression import Regression, regress_mixture
    from .decide.retention import Retention, retention
    from .decide.schedules import list_schedules, rank_schedules, refine_log, transfer_lr
    from .decide.sensitivity import Sensitivity, sensitivity
    from .decide.steplaw import Best, StepLaw, fit_step_law, optimum_of
    from .decide.steps import TrajectoryFit, estimate_trajectory
    from .decide.tasks import Emergence, emergence
    from .decide.trajectory import Trajectory, trajectory
    from .decide.vocab import Vocabulary, optimal_vocabulary
    from .engine.backtest import Backtest, backtest
    from .engine.chain import Chained, backtest_chain, chain
    from .engine.curve_backtest import CurveBacktest, backtest_curves
    from .engine.curves import CurveFit, fit_curves
    from .engine.fit import fit
    from .engine.partial import PartialPrediction, predict_partial
    from .engine.predict import Predictions, predict
    from .engine.result import Fit
    from .errors import BadInput, LabError
    from .laws import LAWS, Law
    from .schedules import Schedule
    from .show.report import write_report
    from .smoothing import smoothed
    from .tables import read_table

# Names load their module when they are first used, so that `import scaling_lab` and `--help` cost nothing.
_HOME = {
    "LAWS": "laws",
    "Law": "laws",
    "average_params": "accounting",
    "fit": "engine.fit",
    "Fit": "engine.result",
    "predict": "engine.predict",
    "Predictions": "engine.predict",
    "predict_partial": "engine.partial",
    "PartialPrediction": "engine.partial",
    "backtest": "engine.backtest",
    "Backtest": "engine.backtest",
    "backtest_curves": "engine.curve_backtest",
    "CurveBacktest": "engine.curve_backtest",
    "CurveFit": "engine.curves",
    "fit_curves": "engine.curves",
    "allocate": "decide.allocate",
    "Allocation": "decide.allocate",
    "compare": "decide.compare",
    "Comparison": "decide.compare",
    "extrapolate": "decide.extrapolate",
    "Extrapolation": "decide.extrapolate",
    "autolrs_forecast": "autolrs",
    "smoothed": "smoothing",
    "forecast": "decide.forecast",
    "follow": "decide.forecast",
    "RunForecast": "decide.forecast",
    "growth": "decide.growth",
    "Growth": "decide.growth",
    "speedup": "decide.growth",
    "Speedup": "decide.growth",
    "hpgrid": "decide.hpgrid",
    "grid_table": "decide.hpgrid",
    "GridReport": "decide.hpgrid",
    "fit_step_law": "decide.steplaw",
    "optimum_of": "decide.steplaw",
    "StepLaw": "decide.steplaw",
    "Best": "decide.steplaw",
    "hparams": "decide.hparams",
    "Hparams": "decide.hparams",
    "horizon": "decide.lr_moves",
    "HorizonMove": "decide.lr_moves",
    "rescale": "decide.lr_moves",
    "BatchMove": "decide.lr_moves",
    "lr_sweep": "decide.lr_moves",
    "LrSweep": "decide.lr_moves",
    "mup": "decide.mup",
    "MupTransfer": "decide.mup",
    "isoflop": "decide.isoflop",
    "mixture": "decide.mixture",
    "Mixture": "decide.mixture",
    "Cap": "decide.mixture",
    "between_sizes": "decide.mixture",
    "across_sizes": "decide.across",
    "Grown": "decide.across",
    "regress_mixture": "decide.regression",
    "Regression": "decide.regression",
    "envelope": "decide.isoflop",
    "cbs": "decide.critical",
    "CriticalBatch": "decide.critical",
    "branched_cbs": "decide.critical",
    "BranchedBatch": "decide.critical",
    "noise_scale": "decide.noise",
    "NoiseScale": "decide.noise",
    "trajectory": "decide.trajectory",
    "Trajectory": "decide.trajectory",
    "estimate_trajectory": "decide.steps",
    "TrajectoryFit": "decide.steps",
    "retention": "decide.retention",
    "Retention": "decide.retention",
    "pools": "decide.pools",
    "PoolChoice": "decide.pools",
    "chain": "engine.chain",
    "Chained": "engine.chain",
    "backtest_chain": "engine.chain",
    "emergence": "decide.tasks",
    "Emergence": "decide.tasks",
    "optimal_vocabulary": "decide.vocab",
    "Vocabulary": "decide.vocab",
    "unigram_normalised_loss": "accounting",
    "sensitivity": "decide.sensitivity",
    "Sensitivity": "decide.sensitivity",
    "Schedule": "schedules",
    "list_schedules": "decide.schedules",
    "schedule_losses": "decide.gains",
    "Losses": "decide.gains",
    "optimize_schedule": "decide.optimize",
    "Optimum": "decide.optimize",
    "annealing_shares": "decide.optimize",
    "Shares": "decide.optimize",
    "schedule_cost": "decide.curve_cost",
    "CurveCost": "decide.curve_cost",
    "rank_schedules": "decide.schedules",
    "refine_log": "decide.schedules",
    "transfer_lr": "decide.schedules",
    "read_table": "tables",
    "write_report": "show.report",
    "LabError": "errors",
    "BadInput": "errors",
}

__all__ = [
    "LAWS",
    "Allocation",
    "Backtest",
    "BadInput",
    "BatchMove",
    "Best",
    "BranchedBatch",
    "Cap",
    "Chained",
    "Comparison",
    "CriticalBatch",
    "CurveBacktest",
    "CurveCost",
    "CurveFit",
    "Emergence",
    "Extrapolation",
    "Fit",
    "GridReport",
    "Grown",
    "Growth",
    "HorizonMove",
    "Hparams",
    "LabError",
    "Law",
    "Losses",
    "LrSweep",
    "Mixture",
    "MupTransfer",
    "NoiseScale",
    "Optimum",
    "PartialPrediction",
    "PoolChoice",
    "Predictions",
    "Regression",
    "Retention",
    "RunForecast",
    "Schedule",
    "Sensitivity",
    "Shares",
    "Speedup",
    "StepLaw",
    "Trajectory",
    "TrajectoryFit",
    "Vocabulary",
    "__version__",
    "across_sizes",
    "allocate",
    "annealing_shares",
    "autolrs_forecast",
    "average_params",
    "backtest",
    "backtest_chain",
    "backtest_curves",
    "between_sizes",
    "branched_cbs",
    "cbs",
    "chain",
    "compare",
    "emergence",
    "envelope",
    "estimate_trajectory",
    "extrapolate",
    "fit",
    "fit_curves",
    "fit_step_law",
    "follow",
    "forecast",
    "grid_table",
    "growth",
    "horizon",
    "hparams",
    "hpgrid",
    "isoflop",
    "list_schedules",
    "lr_sweep",
    "mixture",
    "mup",
    "noise_scale",
    "optimal_vocabulary",
    "optimize_schedule",
    "optimum_of",
    "pools",
    "predict",
    "predict_partial",
    "rank_schedules",
    "read_table",
    "refine_log",
    "regress_mixture",
    "rescale",
    "retention",
    "schedule_cost",
    "schedule_losses",
    "sensitivity",
    "smoothed",
    "speedup",
    "trajectory",
    "transfer_lr",
    "unigram_normalised_loss",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'scaling_lab' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
