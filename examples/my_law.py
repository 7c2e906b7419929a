"""A law of your own in one file: `scaling-lab fit floor-1.75 runs.csv --law-file my_law.py:MY_LAW`."""

from scaling_lab.laws import Law, Param


def chinchilla_with_our_floor(x, A, B, alpha, beta):
    return 1.75 + A * x["params"] ** -alpha + B * x["tokens"] ** -beta


MY_LAW = Law(
    name="floor-1.75",
    title="Chinchilla with the floor we believe in",
    source="our own notes",
    inputs=("params", "tokens"),
    params=(
        Param("A", "nats/token", (1e0, 1e5), "finite-model term at N = 1"),
        Param("B", "nats/token", (1e0, 1e6), "finite-data term at D = 1"),
        Param("alpha", "", (0.05, 1.2), "exponent of the finite-model term"),
        Param("beta", "", (0.05, 1.2), "exponent of the finite-data term"),
    ),
    formula="1.75 + A / params**alpha + B / tokens**beta",
    predict=chinchilla_with_our_floor,
)
