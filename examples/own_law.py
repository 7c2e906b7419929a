"""A law of your own is one entry: fitted, bootstrapped, backtested and allocated by the same engine."""

from pathlib import Path

from my_law import MY_LAW

from scaling_lab import allocate, backtest, fit
from scaling_lab.laws import register

register(MY_LAW)
table = Path(__file__).with_name("runs.csv")
found = fit(MY_LAW, table)
print({name: (round(p.value, 4), round(p.se, 4)) for name, p in found.params.items()})
for scored in backtest(table, ["chinchilla", MY_LAW], test_above=3e20).laws:
    print(f"{scored.law}: {scored.metrics.mape:.2%}")
print(f"{allocate(found, 1e23).params.value:.3g} parameters at 1e23 FLOP")
