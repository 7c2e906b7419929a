"""A law of your own is one entry: fitted, bootstrapped, backtested and allocated by the same engine."""

from pathlib import Path

from scaling_lab import allocate, backtest, fit
from scaling_lab.laws import Param
from scaling_lab.laws.base import Law, register


def predict_fixed_floor(x, A, B, alpha, beta):
    """Chinchilla with the floor that we believe in, 1.75 nats per token."""
    return 1.75 + A * x["params"] ** -alpha + B * x["tokens"] ** -beta


LAW = register(
    Law(
        name="chinchilla-floor-1.75",
        title="Chinchilla with a floor of 1.75",
        source="this example",
        inputs=("params", "tokens"),
        params=(
            Param("A", "nats/token", (1e0, 1e5), "finite-model term at N = 1"),
            Param("B", "nats/token", (1e0, 1e6), "finite-data term at D = 1"),
            Param("alpha", "", (0.05, 1.2), "exponent of the finite-model term"),
            Param("beta", "", (0.05, 1.2), "exponent of the finite-data term"),
        ),
        formula="1.75 + A / params**alpha + B / tokens**beta",
        predict=predict_fixed_floor,
    )
)

table = Path(__file__).with_name("runs.csv")
found = fit(LAW, table)
print({name: (round(p.value, 4), round(p.se, 4)) for name, p in found.params.items()})
for scored in backtest(table, ["chinchilla", LAW], test_above=3e20).laws:
    print(f"{scored.law}: {scored.metrics.mape:.2%}")
print(f"{allocate(found, 1e23).params.value:.3g} parameters at 1e23 FLOP")
