"""scaling-lab: fits scaling laws to finished training runs and predicts what larger models will reach."""

__version__ = "0.1.0"
