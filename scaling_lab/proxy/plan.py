"""SWEEP.toml as a list of run plans."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..accounting import Counts, Shape, parameters, training_flops
from ..errors import BadInput, nearest
from ..quantities import format_quantity
from ..schedules import FREE_FORM, SCHEDULES, Schedule
from .data import VOCAB_SIZE
from .source import Source

PRECISIONS = ("auto", "fp32", "bf16")
SPACINGS = ("log", "even")
FLOPS_CONVENTION = "6nd"


@dataclass(frozen=True)
class RunPlan:
    """Everything that decides a run's numbers, and nothing else; equal plans give equal curves on one machine."""

    corpus: str
    width: int
    depth: int
    heads: int
    mlp_width: int
    tied: bool
    seq_len: int
    tokens: int
    batch_tokens: int
    lr: float
    schedule: str
    warmup_steps: int
    floor: float
    decay: float
    weight_decay: float
    beta1: float
    beta2: float
    grad_clip: float
    precision: str
    seed: int
    data_seed: int
    validation_sequences: int
    curve_points: int
    curve_spacing: str

    @property
    def shape(self) -> Shape:
        """The model's shape."""
        return Shape(VOCAB_SIZE, self.width, self.depth, self.heads, self.mlp_width, tied=self.tied)

    @property
    def counts(self) -> Counts:
        """Its parameters under each convention."""
        return parameters(self.shape)

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return self.tokens // self.batch_tokens

    @property
    def learning_rates(self) -> Schedule:
        """The learning rate of each update; raises BadInput where the settings can't be a schedule."""
        known = {"batch": self.batch_tokens / self.seq_len, "seq_len": self.seq_len}
        takes = SCHEDULES[self.schedule.partition(":")[0]].settings
        return Schedule.parse(
            self.schedule,
            total=self.steps,
            lr_max=self.lr,
            warmup_steps=self.warmup_steps,
            floor=self.floor,
            decay=self.decay,
            settings={name: value for name, value in known.items() if name in takes},
        )

    @property
    def flops(self) -> float:
        """Training compute, 6 per parameter and token."""
        return training_flops(self.shape, self.tokens, self.seq_len, FLOPS_CONVENTION)

    @property
    def run_id(self) -> str:
        """A readable name that ends in the hash of the plan; also the run's folder."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        size = format_quantity(self.counts.params)
        return f"{size}-{format_quantity(self.tokens)}-s{self.seed}-{digest[:10]}"


@dataclass(frozen=True)
class Sweep:
    """A SWEEP.toml: its runs in order, the role of each, and where they go."""

    name: str
    corpus: str
    file: Path
    sha256: str
    out: Path
    device: str
    checkpoint_seconds: float
    plans: tuple[RunPlan, ...]
    roles: Mapping[str, str]  # by run_id

    @property
    def flops(self) -> float:
        """Training compute of the whole sweep."""
        return sum(plan.flops for plan in self.plans)


_SWEEP_KEYS = {"name", "corpus", "seed", "out", "device", "checkpoint_seconds"}
_MODEL_KEYS = {"width", "depth", "heads", "mlp_width", "tied"}
_TRAIN_DEFAULTS: dict[str, Any] = {
    "seq_len": 128,
    "batch_tokens": 1024,
    "schedule": "cosine",
    "floor": 0.1,
    "decay": 0.2,
    "warmup": 0.1,
    "weight_decay": 0.1,
    "beta1": 0.9,
    "beta2": 0.95,
    "grad_clip": 1.0,
    "precision": "auto",
    "validation_sequences": 128,
    "curve_points": 16,
    "curve_spacing": "log",
}
_TRAIN_KEYS = {*_TRAIN_DEFAULTS, "lr", "warmup_steps"}
_RUN_KEYS = {*_MODEL_KEYS, *_TRAIN_KEYS, "tokens", "seed", "data_seed", "role"}
_GRID_AXES = {"sizes", "tokens", "lrs", "seeds"}
_GRID_KEYS = {*_GRID_AXES, *_TRAIN_KEYS, "role"}
_LR_RULE_KEYS = {"coefficient", "params_power", "tokens_power"}


def read_sweep(file: str | Path, out: str | Path | None = None) -> Sweep:
    """The sweep that a SWEEP.toml describes; raises BadInput with the line where it is known.

    The out folder is `out`, else the file's own `out` (relative to the file), else runs/NAME in the current folder.
    """
    source = Source(Path(file))
    content = source.read()
    source.check_keys(content, {"sweep", "model", "train", "grid", "run"}, "the file")
    header = source.table(content, "sweep", _SWEEP_KEYS)
    name = source.text(header, "name", source.file.stem)
    if Path(name).name != name:
        raise source.fault(f"name = {name!r} can't be the name of a folder", "name")
    corpus = source.text(header, "corpus", "stdlib")
    plans, roles = [], {}
    for place, settings in _settings(source, content, source.whole(header, "seed", 0, least=0)):
        plan = _plan(source, place, corpus, settings)
        if plan.run_id in roles:
            raise source.fault(f"{place} repeats another run ({plan.run_id}): give it another seed or take it out")
        plans.append(plan)
        roles[plan.run_id] = source.text(settings, "role", "fit")
    if not plans:
        raise source.fault("no runs: it has neither a [grid] with sizes and tokens nor a [[run]]")
    folder = source.file.parent / source.text(header, "out", "") if "out" in header else Path("runs") / name
    return Sweep(
        name=name,
        corpus=corpus,
        file=source.file,
        sha256=source.sha256,
        out=Path(out) if out is not None else folder,
        device=source.choice(header, "device", "auto", ("auto", "cpu", "cuda")),
        checkpoint_seconds=source.number(header, "checkpoint_seconds", 30.0, least=0.0),
        plans=tuple(plans),
        roles=roles,
    )


def _settings(source: Source, content: dict[str, Any], seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each run stands in the file, and its settings."""
    common = _over(
        {"seed": seed, **_TRAIN_DEFAULTS},
        source.table(content, "model", _MODEL_KEYS),
        source.table(content, "train", _TRAIN_KEYS),
    )
    grids = content.get("grid", [])
    for grid in source.entries({"grid": [grids] if isinstance(grids, dict) else grids}, "grid", _GRID_KEYS, "[grid]"):
        yield from _grid_settings(source, grid, common)
    for index, run in enumerate(source.entries(content, "run", _RUN_KEYS, "[[run]]"), 1):
        yield f"[[run]] {index}", _over(common, run)


def _grid_settings(
    source: Source, grid: dict[str, Any], common: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every size on every token count, with every rate and every seed."""
    axes = {key: source.listed(grid, key) for key in ("sizes", "tokens")}
    rates = source.listed(grid, "lrs") if "lrs" in grid else [None]
    seeds = source.listed(grid, "seeds") if "seeds" in grid else [common["seed"]]
    own = {key: value for key, value in grid.items() if key not in _GRID_AXES}
    sizes = source.entries(axes, "sizes", _MODEL_KEYS | _TRAIN_KEYS, "[grid] sizes")
    for (index, size), tokens, rate, seed in itertools.product(enumerate(sizes, 1), axes["tokens"], rates, seeds):
        cell = {"tokens": tokens, "seed": seed, **({} if rate is None else {"lr": rate})}
        yield f"[grid] size {index}", _over(common, own, size, cell)


def _over(*levels: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of all levels, later ones over earlier; a warm-up given either way replaces one given the other."""
    merged: dict[str, Any] = {}
    for level in levels:
        if "warmup" in level:
            merged.pop("warmup_steps", None)
        merged.update(level)
    return merged


def _plan(source: Source, place: str, corpus: str, settings: dict[str, Any]) -> RunPlan:
    for key in ("width", "depth", "heads", "tokens", "lr"):
        if key not in settings:
            raise source.fault(f"{place} has no {key}")
    shape = _shape(source, place, settings)
    batch_tokens, seq_len = source.whole(settings, "batch_tokens"), source.whole(settings, "seq_len")
    if batch_tokens % seq_len:
        raise source.fault(f"{place}: batch_tokens = {batch_tokens} is no multiple of seq_len = {seq_len}")
    asked = source.number(settings, "tokens", above=0)
    steps = round(asked / batch_tokens)
    if steps < 1:
        raise source.fault(f"{place}: {asked:g} tokens are too few for one step of {batch_tokens} tokens", "tokens")
    tokens = steps * batch_tokens
    seed = source.whole(settings, "seed", least=0)
    plan = RunPlan(
        corpus=corpus,
        width=shape.width,
        depth=shape.depth,
        heads=shape.heads,
        mlp_width=shape.mlp_width,
        tied=shape.tied,
        seq_len=seq_len,
        tokens=tokens,
        batch_tokens=batch_tokens,
        lr=_learning_rate(source, place, settings, parameters(shape).params, tokens),
        warmup_steps=_warmup_steps(source, place, settings, steps),
        seed=seed,
        data_seed=source.whole(settings, "data_seed", seed, least=0),
        **_choices(source, settings),
    )
    try:
        _ = plan.learning_rates
    except BadInput as fault:
        raise source.fault(f"{place}: {fault}", "schedule") from fault
    return plan


def _shape(source: Source, place: str, settings: dict[str, Any]) -> Shape:
    width = source.whole(settings, "width")
    # Two thirds of 4·width, so that three matrices weigh what two did (Shazeer, 2002.05202); in multiples of 8.
    hidden = source.whole(settings, "mlp_width", 8 * -(-width // 3))
    depth, heads = source.whole(settings, "depth"), source.whole(settings, "heads")
    try:
        shape = Shape(VOCAB_SIZE, width, depth, heads, hidden, tied=source.flag(settings, "tied", True))
    except BadInput as fault:
        raise source.fault(f"{place}: {fault}", "heads") from fault
    if shape.head_width % 2:
        raise source.fault(
            f"{place}: width / heads = {shape.head_width} is odd, and rotary positions turn pairs", "heads"
        )
    return shape


def _choices(source: Source, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that are read as they stand."""
    return {
        "schedule": _schedule(source, settings),
        "floor": source.number(settings, "floor", least=0.0, most=1.0),
        "decay": source.number(settings, "decay", above=0.0, most=1.0),
        "weight_decay": source.number(settings, "weight_decay", least=0.0),
        "beta1": source.number(settings, "beta1", least=0.0, below=1.0),
        "beta2": source.number(settings, "beta2", least=0.0, below=1.0),
        "grad_clip": source.number(settings, "grad_clip", above=0.0),
        "precision": source.choice(settings, "precision", "", PRECISIONS),
        "validation_sequences": source.whole(settings, "validation_sequences"),
        "curve_points": source.whole(settings, "curve_points"),
        "curve_spacing": source.choice(settings, "curve_spacing", "", SPACINGS),
    }


def _schedule(source: Source, settings: dict[str, Any]) -> str:
    """The name of a schedule, with settings of its own behind a colon; peak, warm-up, floor and decay stand apart."""
    text = source.text(settings, "schedule", "")
    name, colon, rest = text.partition(":")
    if name == FREE_FORM:
        raise source.fault(f"schedule = {text!r} is a file, and a plan holds all that decides a run", "schedule")
    if name not in SCHEDULES:
        raise source.fault(f"schedule = {text!r} is not known", "schedule", fix=nearest(name, SCHEDULES))
    for part in rest.split(",") if colon else ():
        key = part.partition("=")[0].strip()
        if key not in SCHEDULES[name].settings:
            own = ", ".join(SCHEDULES[name].settings) or "none"
            fix = f"its own settings are: {own}; lr, warmup, floor and decay are keys beside it"
            raise source.fault(f"schedule = {text!r}: {key!r} is no setting of {name}", "schedule", fix=fix)
    return text


def _warmup_steps(source: Source, place: str, settings: dict[str, Any], steps: int) -> int:
    if "warmup_steps" in settings:
        warmup = source.whole(settings, "warmup_steps", least=0)
    else:
        warmup = min(round(source.number(settings, "warmup", least=0.0, below=1.0) * steps), steps - 1)
    if warmup >= steps:
        raise source.fault(f"{place}: {warmup} warm-up steps leave nothing of {steps} steps", "warmup_steps")
    return warmup


def _learning_rate(source: Source, place: str, settings: dict[str, Any], params: int, tokens: int) -> float:
    """A number, or coefficient · params^params_power · tokens^tokens_power, to four digits."""
    rule = settings["lr"]
    if not isinstance(rule, dict):
        return source.number(settings, "lr", above=0.0)
    source.check_keys(rule, _LR_RULE_KEYS, "lr")
    if "coefficient" not in rule:
        raise source.fault(f"{place}: the rule for lr has no coefficient", "lr")
    by_params = params ** source.number(rule, "params_power", 0.0)
    by_tokens = tokens ** source.number(rule, "tokens_power", 0.0)
    return float(f"{source.number(rule, 'coefficient', above=0.0) * by_params * by_tokens:.4g}")
