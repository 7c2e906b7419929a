"""From a DataFrame to a prediction, as in a notebook."""

from pathlib import Path

import pandas as pd

from scaling_lab import allocate, backtest, fit, predict

runs = pd.read_csv(Path(__file__).with_name("runs.csv"))
found = fit("chinchilla", runs)
print({name: round(p.value, 4) for name, p in found.params.items()})

for scored in backtest(runs, ["chinchilla", "chinchilla-tied", "kaplan-nd"], test_above=3e20).laws:
    print(f"{scored.law}: {scored.metrics.mape:.2%} off on {scored.test} larger runs, coverage {scored.coverage:.0%}")

ahead = predict(found, {"params": 7e9, "tokens": 140e9})
print(f"7B on 140B tokens: {ahead.value[0]:.3f} [{ahead.low[0]:.3f}, {ahead.high[0]:.3f}]")
print(f"times beyond the data: {ahead.outside[0]}")

split = allocate(found, 1e23)
print(f"1e23 FLOP: {split.params.value:.3g} parameters on {split.tokens.value:.3g} tokens")
