"""Every code that a warning may carry, once: what `explain`, --fail-on and docs/warnings.md know of it.

To add one, append a Code below and raise it with its severity (`codes.severity(code)` gives it); run
`python docs/make_warnings.py` for the page. A test holds the registry against the codes that the package raises, both
ways. The hundreds say where the cause lies: 1 the table, 2 the design, 3 the fit and its bootstrap, 4 what is asked of
the fit. Loads nothing heavy: the command line reads it before any work is done.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from string import Formatter
from typing import Any, Literal

from ..errors import UsageError, nearest

Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True)
class Code:
    """A stable code with its kebab name.

    `evidence` says what is looked at and where the threshold lies; a field such as {engine.result.FEW} is the constant
    of that module, so the text can't differ from what the code does.
    """

    code: str
    severity: Severity
    name: str
    title: str
    reason: str
    evidence: str
    fixes: tuple[str, ...]

    def looked_at(self) -> str:
        """The evidence with its thresholds filled in; imports the modules that hold them."""
        return self.evidence.format(**{root: _Package(root) for root in _roots(self.evidence)})

    def to_dict(self) -> dict[str, Any]:
        """The entry of `explain --json`."""
        return {
            "code": self.code,
            "severity": self.severity,
            "name": self.name,
            "title": self.title,
            "reason": self.reason,
            "evidence": self.looked_at(),
            "fixes": list(self.fixes),
        }


@dataclass(frozen=True)
class _Package:
    """A dotted name below the package, whose attributes are its modules, then their constants."""

    name: str

    def __getattr__(self, part: str) -> Any:
        return (
            getattr(import_module(f"scaling_lab.{self.name}"), part)
            if part.isupper()
            else _Package(f"{self.name}.{part}")
        )


def _roots(template: str) -> set[str]:
    return {field.partition(".")[0] for _, field, _, _ in Formatter().parse(template) if field}


_ENTRIES = (
    # ------------------------------------------------------------------------------------------------- 1 the table
    Code(
        "SL101",
        "warning",
        "flops-mismatch",
        "the table's flops are not 6*params*tokens",
        "A prediction or a split takes compute as 6*params*tokens. Where the table counts otherwise, one of the three "
        "columns probably counts something else: parameters without embeddings, or FLOPs with attention.",
        "fit: rows whose flops / (6*params*tokens) lies below {engine.diagnostics.ODD_FLOPS[0]:g} or above "
        "{engine.diagnostics.ODD_FLOPS[1]:g}. allocate: the median of that ratio lies outside 0.9 to 1.1.",
        (
            "check what params and flops count; --params-column takes another count",
            "where the ratio is meant (attention, embeddings), read budgets as 6*params*tokens",
        ),
    ),
    Code(
        "SL102",
        "warning",
        "compute-convention",
        "a law of the table's own flops is asked about params and tokens",
        "The law was fitted to the table's column of compute; a point given by params and tokens has only "
        "6*params*tokens, which may count otherwise.",
        "the law takes flops, the column was not derived, and a point does not name its flops.",
        ("check that the column counts 6*params*tokens", "give the point's flops, counted as the table counts them"),
    ),
    Code(
        "SL103",
        "warning",
        "sizes-in-millions",
        "params or tokens look as if they were in millions or billions",
        "A wrong unit moves the coefficients by powers of ten, and every prediction that is asked in counts.",
        "the smallest value of params or of tokens is below {engine.diagnostics.LEAST_SIZE:g}.",
        ("give counts, as in --map params='size*1e6'",),
    ),
    Code(
        "SL104",
        "warning",
        "mixed-annealing",
        "some rows end with the learning rate annealed and some do not",
        "Annealing lowers the loss by several per cent, at once and by about as much at every size. A table that mixes "
        "annealed ends with checkpoints from the middle of a run puts that difference into the law, mostly into the "
        "data term, and the exponents with it.",
        "each row's learning rate as a share of its peak: lr / lr_max, or lr over the highest lr of its run, or 1 "
        "where schedule says constant. At least {engine.diagnostics.FEW_SIDE:.0%} of the known rows (and two) lie at "
        "or below {engine.diagnostics.ANNEALED:g} and as many at or above {engine.diagnostics.UNANNEALED:g}. Without "
        "a learning rate: rows of one run at different tokens, which can't all be its end, unless the schedule is "
        "constant.",
        (
            "keep one kind, for instance --where 'lr <= 0.2 * lr_max', or the last row of each run",
            "train runs of several lengths to the end of their decay, or branch decays off one constant run",
            "where the rate was constant, say so in a column schedule",
        ),
    ),
    Code(
        "SL105",
        "warning",
        "loss-not-in-nats",
        "the losses look as if they were perplexity, bits or a sum",
        "Laws of loss have a floor in nats per token; in another unit their coefficients compare with nothing, and a "
        "perplexity is no power law at all.",
        "no loss of the table is below {engine.diagnostics.HIGHEST_LOSS:g}.",
        ("give the mean cross-entropy in nats: --map loss='bits*0.6931'",),
    ),
    # ------------------------------------------------------------------------------------------------ 2 the design
    Code(
        "SL201",
        "warning",
        "collinear-design",
        "all runs have about one ratio of tokens to parameters",
        "Along one ratio the model term and the data term fall together. Only the law's form tells them apart, so the "
        "loss of other ratios, and the best split of a budget, rest on the form alone.",
        "the standard deviation of log(tokens / params) is below {engine.diagnostics.ONE_RATIO:g}.",
        ("add runs at other ratios, a factor 4 apart or more, at the small sizes where they are cheap",),
    ),
    Code(
        "SL202",
        "warning",
        "few-sizes",
        "an input takes few distinct values",
        "A power law with a floor has three unknowns in each input: three values fit any of them exactly and leave "
        "nothing to check the form by.",
        "fewer than {engine.diagnostics.FEW_VALUES} values of an input that differ by more than 1 %.",
        ("add sizes or token counts between and beyond those that are there", "hold a parameter with --fix"),
    ),
    Code(
        "SL203",
        "warning",
        "not-bracketed",
        "the best split of compute lies outside what was tried",
        "Where every run is larger (or every run smaller) than the best one for its compute, nobody has seen the loss "
        "rise on the other side: the place of the optimum is extrapolated, and so is each answer of allocate.",
        "fit: for laws of params and tokens, the runs' params over the fitted optimum's at the same compute; all but "
        "{engine.diagnostics.ONE_SIDE:.0%} of the runs lie on one side. Where runs form isoFLOP profiles of "
        "{engine.diagnostics.PROFILE_SIZES} sizes or more: "
        "most profiles have their lowest loss at the smallest size, or most at the largest. isoflop: any profile whose "
        "minimum lies at its edge (it is not used).",
        (
            "add runs on the other side: larger models on fewer tokens, or smaller ones on more",
            "ask predict about runs of the kind that were trained, and read allocate as a guess",
        ),
    ),
    Code(
        "SL204",
        "warning",
        "few-runs",
        "few runs to resample",
        "A bootstrap of few runs knows only the scatter that these few happened to show: resamples of six grids of "
        "learning rate and batch held planted exponents in 77 to 88 % of 90 % intervals. `fit step-law` widens the "
        "spread of its few grids to Student's t (held: 89 to 98 %); plain fits do not.",
        "fewer than 2p + 2 runs for p free parameters.",
        ("read the parameters' intervals as rough", "add runs, or hold parameters with --fix"),
    ),
    # --------------------------------------------------------------------------------- 3 the fit and its bootstrap
    Code(
        "SL301",
        "warning",
        "basin-disagreement",
        "the starts did not agree on one optimum",
        "The objective has several valleys. An optimum that only one or two starts found may not be the best there is.",
        "fewer than {engine.diagnostics.AGREE} of the followed starts reached the best optimum, or a further audit of "
        "starts found a lower one.",
        ("raise --starts and see whether the optimum stays", "see whether another --seed moves the answer"),
    ),
    Code(
        "SL302",
        "warning",
        "at-bound",
        "a term was driven to nothing",
        "The data show nothing of that term. Inside them it makes no difference; a prediction outside them rests on "
        "the term being absent, which nothing has shown.",
        "a parameter whose change by a factor e moves no row's prediction by more than "
        "{engine.diagnostics.NOTHING:g} of itself.",
        ("add runs where the term would show", "take a law without it, or hold the parameter with --fix"),
    ),
    Code(
        "SL303",
        "warning",
        "ill-conditioned",
        "some combination of parameters is hardly told by the data",
        "Along the weak direction the parameters can move together without any run's loss noticing. Their values and "
        "exponents should not be quoted or compared; what the runs do tell is the loss within their own range.",
        "the condition number of the derivatives of log loss towards the log parameters, columns scaled to one length, "
        "above {engine.diagnostics.CONDITION:g}.",
        (
            "widen the range of the inputs that the named parameters belong to",
            "hold one of the named parameters with --fix, or take a law with fewer (chinchilla-tied)",
            "quote predictions inside the data, not parameters",
        ),
    ),
    Code(
        "SL304",
        "warning",
        "high-influence",
        "one run moves the answer by itself",
        "A result that changes with one run is that run's result. Often the run is at fault (diverged, another "
        "tokenizer, cut short); sometimes it alone holds the information. The default Huber objective is hardly moved "
        "by a single loss, so this comes up mostly under --objective l2 or for runs far from all others.",
        "tables of up to {engine.local.MOST_ROWS:,} rows: each run left out in turn (one Newton step ranks them, the "
        "{engine.diagnostics.REFITTED} of most effect are refitted): a parameter, or the prediction at the largest "
        "compute of the data, moves by more than "
        "{engine.diagnostics.INFLUENCE:g} times the standard error that it has without the run; with few runs by more, "
        "as Student's t lies further out than a normal error.",
        (
            "look at the run: was it finished, and measured like the others?",
            "fit without it (--where) and report both answers",
            "add runs near it",
        ),
    ),
    Code(
        "SL305",
        "warning",
        "rough-bootstrap",
        "many bootstrap refits failed or did not settle",
        "Refits that stopped early are not where their optimum is: the draws are a blend of answers and accidents.",
        "more than {engine.diagnostics.UNSETTLED:.0%} of the refits.",
        ("read the parameters' intervals as rough", "take a law with fewer parameters, or add runs"),
    ),
    Code(
        "SL306",
        "warning",
        "unsettled-optimum",
        "the best start did not settle within its steps",
        "Newton steps were still going down, or found no way down: a better optimum may exist nearby.",
        "the status of the best start is not `converged`.",
        ("see whether another --seed or --objective moves the answer", "raise --starts"),
    ),
    Code(
        "SL307",
        "warning",
        "assumed-drift",
        "the growth of the error outside the data is assumed, not measured",
        "Intervals widen with the distance from the data by what inner backtests of the table show. A table too small "
        "for them gets a default.",
        "no inner backtest had three rows on both sides and a fit below the cut; the standard error grows by "
        "{engine.uncertainty.LEAST_DRIFT:g} of the loss for each factor e.",
        ("add runs", "read intervals outside the data as a guess"),
    ),
    Code(
        "SL308",
        "warning",
        "too-few-to-resample",
        "the runs are too few to resample",
        "Drawn again, so few runs hardly ever tell every parameter, or only by being the table itself.",
        "fewer than p + 2 runs for p free parameters, or most resamples can't tell all parameters. Single-row runs get "
        "new losses drawn about the fit; runs of several rows get no intervals, for their rows share one error.",
        ("add runs", "hold parameters with --fix"),
    ),
    Code(
        "SL309",
        "warning",
        "interrupted-bootstrap",
        "the bootstrap was interrupted",
        "The refits that were done are kept; they are the first of those asked for, so they are a fair sample, but a "
        "smaller one.",
        "an interrupt (Ctrl-C) after at least {engine.bootstrap.LEAST_KEPT} refits.",
        ("run again, with a smaller --bootstrap if it took too long", "read the ends of the intervals as rough"),
    ),
    Code(
        "SL310",
        "warning",
        "open-interval",
        "an end of a parameter's interval is open",
        "With all other parameters fitted again, no value of the parameter on that side makes the law fit badly enough "
        "to be ruled out: the data do not bound it there. The end is null, or the parameter's own bound.",
        "--intervals profile: the profiled objective stays below its limit out to {engine.likelihood.REACH[1]:g} times "
        "the half width that the covariance gives.",
        ("add runs at other values of the parameter's input", "hold it with --fix, or take a law without it"),
    ),
    Code(
        "SL311",
        "warning",
        "short-chain",
        "the chain of emcee is too short",
        "Steps of a chain repeat each other for an autocorrelation time. A chain of few such times has seen little of "
        "the posterior, and does not even know that time well.",
        "fewer than {engine.bridge.LENGTHS} autocorrelation times after {engine.bridge.MOST_STEPS} steps.",
        ("read the intervals as rough", "take --intervals profile, which needs no chain"),
    ),
    Code(
        "SL312",
        "warning",
        "no-covariance",
        "the derivatives at the optimum give no covariance",
        "Runs that are too few, or a term driven to nothing, leave the optimum's derivatives without an answer.",
        "--intervals covariance, profile or emcee: fewer than p + 2 runs of several rows each (p + 1 of single rows) "
        "for p free parameters, derivatives that do not tell the parameters apart, or a parameter whose change by a "
        "factor e moves no row's prediction by more than {engine.sandwich.NOTHING:g} of itself.",
        ("compare --intervals bootstrap", "add runs, or hold parameters with --fix"),
    ),
    Code(
        "SL313",
        "warning",
        "lower-profile",
        "a profile met a lower objective than the fit's",
        "With one parameter held, the others reached a better fit than the optimum itself: that one is not the lowest.",
        "--intervals profile: lower by more than {engine.likelihood.LOWER:g} of the objective.",
        ("fit again with more --starts", "see whether another --seed finds it too"),
    ),
    Code(
        "SL314",
        "warning",
        "auto-unweighed",
        "auto could not weigh laws by inner backtests",
        "The choice of laws rests on how they predict the larger runs of the same table. Without that there is no "
        "evidence for one law over another.",
        "fewer than {engine.auto.LEAST_TRAIN} rows below every inner cut or fewer than {engine.auto.LEAST_TEST} above, "
        "or no law that could be fitted below every cut: the law of fewest parameters is fitted alone.",
        ("add runs", "name a law, and say why it was taken"),
    ),
    Code(
        "SL315",
        "warning",
        "borrowed",
        "most of what is known of a parameter is borrowed",
        "A prior from another family stands in for what this table does not tell. Families differ: such a prediction "
        "is as good as the likeness of the two.",
        "--prior: more than {engine.diagnostics.BORROWED:g} of the information on an exponent is the other fit's.",
        ("add runs that tell the exponent by themselves", "compare another family's fit, or a larger --prior-sd"),
    ),
    Code(
        "SL316",
        "warning",
        "baseline-wins",
        "something simple predicted better than the weighted laws",
        "auto weighs laws against each other; where the last point or a plain power law in compute beats their mean, "
        "none of them describes the table.",
        "fit auto: a baseline's mean error in the inner backtests is below that of the members' weighted mean.",
        ("look for two families, recipes or unfinished runs in one table", "fit each family by itself, with --where"),
    ),
    Code(
        "SL317",
        "warning",
        "auto-left-out",
        "auto weighs no law of an input that varies in the table",
        "Runs that differ in something that no weighed law knows scatter about all of them, and a prediction is one "
        "for the mixture of what the table holds.",
        "a column of engine.auto.DESIGNED, or a share of a mixture, varies in the table, and the laws weighed do not "
        "take it.",
        (
            "select runs of one kind with --where",
            "name a law that takes the input, or drop the column if it is no cause",
        ),
    ),
    Code(
        "SL318",
        "warning",
        "auto-bent",
        "auto took a broken power law, for the rows show a bend",
        "A bend that begins late in a table can't be predicted from the runs below it, so that inner backtests say "
        "nothing for or against a broken law; the rows that hold the bend do.",
        "on a table of one input, the AICc of a broken power law is lower than that of the power law with a floor by "
        "more than {engine.auto.BEND:g}.",
        ("backtest --law bnsl1@INPUT with the split before and after the bend", "add runs well beyond the last bend"),
    ),
    Code(
        "SL319",
        "warning",
        "curve-no-doubt",
        "how uncertain the parameters of a law of curves are can't be told",
        "The derivatives at the optimum give no covariance, so that intervals hold the scatter about the law and its "
        "misfit, and of the parameters nothing.",
        "engine.sandwich finds no covariance: too few blocks of points, or parameters that lie on a ridge.",
        ("add curves or points", "hold a parameter with --fix, or take annealing, which has fewer"),
    ),
    Code(
        "SL320",
        "warning",
        "curve-never-falls",
        "the learning rate never falls in the curves that were fitted",
        "What a fall is worth is in none of them: it is that of other people's runs, and a forecast through a decay is "
        "as uncertain as those differ.",
        "no curve has a drop of the learning rate before its last point.",
        ("add a run that decays, or a short branch of this one with a decay",),
    ),
    Code(
        "SL321",
        "info",
        "curve-one-schedule",
        "all curves that were fitted have one schedule",
        "On one schedule the loss left, the trend and what falls are worth trade off. Published fits of one cosine "
        "foretold other schedules within .17 to .45 % on average, up to 1 % at a point.",
        "a law of curves is fitted to one schedule, in which the learning rate falls.",
        ("add a run at a constant rate, or one with a sudden drop",),
    ),
    Code(
        "SL322",
        "info",
        "curve-no-jump",
        "no sudden drop among the curves of a law that needs one",
        "How fast a drop pays, and what it is worth in the end, only a sudden one tells apart; from slow decays alone "
        "they trade off, and the law is drawn to what is known of other runs.",
        "a law of laws.curves.NEED_A_JUMP is fitted to two schedules or more, none with a drop of "
        "{engine.curves.SUDDEN:.0%} of the peak at once and {engine.curves.AFTER} points after it.",
        ("add a run with a sudden drop, as two-stage", "take annealing"),
    ),
    Code(
        "SL323",
        "warning",
        "curve-unweighed",
        "too few points to weigh laws of curves by inner backtests",
        "The laws then weigh by their odds before any curve was seen.",
        "no inner backtest has {engine.curve_misfit.LEAST_TRAIN} points to fit and {engine.curve_misfit.LEAST_TEST} to "
        "predict.",
        ("add points", "name a law"),
    ),
    Code(
        "SL324",
        "warning",
        "curve-higher-peak",
        "a schedule goes higher than every fitted curve",
        "Laws of loss curves take any higher learning rate for a better one: they know no best, and no divergence.",
        "the peak asked for is more than {engine.curves.SAME_PEAK:g} times the highest fitted one.",
        ("ask for a schedule with the fitted peak", "add a curve with that peak"),
    ),
    Code(
        "SL325",
        "warning",
        "curve-far",
        "a forecast goes far beyond the fitted curves",
        "Trends of curves flatten more slowly than their beginnings say, and no inner backtest reaches as far: the "
        "interval rests on how far off ladders of runs were (docs/curves-accuracy.md).",
        "the summed learning rate is more than {engine.curves.FAR_AREA:g} times the largest that was fitted.",
        ("add a longer curve",),
    ),
    Code(
        "SL326",
        "warning",
        "headless-log",
        "A curve was logged from some step on, and nobody says what the learning rate was before",
        "The area of the learning rate counts from the first update. Rates that were those of a warm-up count too much "
        "when they are taken for the first one logged, and the loss left and the exponent move to make up for it.",
        "a log without an lr below its first one that begins after {engine.curves.LATE_LOG:.1%} of its steps, where "
        "neither --warmup-steps, a column warmup_steps nor --schedule says how the run began.",
        (
            "give --warmup-steps N, or 0 where the run began at its peak",
            "give the whole --schedule",
        ),
    ),
    Code(
        "SL340",
        "warning",
        "gains-borrowed",
        "what comes true of a predicted gain is known of other people's runs alone",
        "Laws of loss curves overstate what one schedule wins over another, and how much is told by leaving a schedule "
        "of the fit out; with one schedule, or none that falls beside it, nothing can be left out.",
        "schedule compare --fit, schedule optimize: no two of the fitted curves, one predicted without it, lie more "
        "than {decide.gains.LEAST_DIFFERENCE} nats apart by the law at a common step.",
        (
            "fit curves of two schedules that fall, and one that does not",
            "fit again where the FIT.json is of an older version",
        ),
    ),
    Code(
        "SL341",
        "warning",
        "degenerate-schedule",
        "the free-form schedule that a law likes best is one to distrust",
        "A law that credits a fall of the learning rate by the steps after it is best served by a sudden fall, and the "
        "annealing law by one to zero, after which nothing is trained: that is the formula, not training.",
        "schedule optimize: more than {decide.optimize.SUDDEN:.0%} of the peak falls within "
        "{decide.optimize.SUDDEN_STEPS} steps, or more than one step is at a rate below {decide.optimize.ZERO:g} of "
        "the peak.",
        ("take the best of the families", "bound the fall with --min-decay STEPS and the last rate with --final-lr"),
    ),
    Code(
        "SL342",
        "warning",
        "longer-than-fitted",
        "a schedule is longer than all curves behind the fit",
        "The trend in the area of the learning rate is carried on beyond what was seen.",
        "schedule compare --fit, schedule optimize: the step is more than {decide.gains.LONGER:g} times the last of "
        "the fitted curves.",
        ("read the interval, which is the wider the further it goes", "fit a longer curve too"),
    ),
    Code(
        "SL343",
        "warning",
        "wrong-order",
        "the law has the order of two fitted curves wrong when one is left out",
        "What it says of schedules that were never run is then worth little.",
        "schedule compare --fit, schedule optimize: of two of the fitted curves the one that the law takes for the "
        "better, without having seen it or the other, ended worse.",
        ("fit another law, or auto-curve", "add a curve with a sudden fall of the rate"),
    ),
    Code(
        "SL344",
        "info",
        "lower-than-fitted",
        "a schedule goes to lower learning rates than any fitted curve ended on",
        "By the law every lower rate is worth something; near zero little was measured.",
        "schedule compare --fit, schedule optimize (its best family): a rate after the warm-up is below the lowest "
        "last rate of the fitted curves.",
        ("hold the last rate with --final-lr", "fit a curve that falls as low"),
    ),
    Code(
        "SL345",
        "info",
        "gain-not-told",
        "the best schedule is not told from the one it is compared with",
        "What is expected to come true of the gain is small beside its interval, which holds how wrong laws are of "
        "small differences.",
        "schedule optimize: the interval of the best family's gain holds zero.",
        ("take the simpler schedule",),
    ),
    # -------------------------------------------------------------------------------------- 4 what is asked of a fit
    Code(
        "SL401",
        "warning",
        "extrapolation",
        "a point lies far outside the fitted range",
        "No backtest here reaches that far, so no interval was ever checked there.",
        "an input or the compute of a point lies more than {engine.predict.FAR:g} times outside the fitted range.",
        ("train runs nearer to the target first", "compare several laws at the point"),
    ),
    Code(
        "SL402",
        "warning",
        "held-out-bias",
        "held-out large runs are missed to one side",
        "An error of one sign that noise and the parameters' doubt do not explain is the law's form: its predictions "
        "beyond the data lean the same way, further out by more.",
        "fit: the mean error (in log loss) of the rows above each inner cut, over its standard error from the scatter "
        "of the runs and the doubt of the parameters; the mean of that over three cuts or more lies further from zero "
        "than {engine.uncertainty.BIASED:g}. backtest: the same for the held-out rows, further than "
        "{engine.diagnostics.HELD_OUT:g}; for auto a mean error above {engine.diagnostics.SHARED:g} times the half "
        "width of its 90 % intervals (its false alarms are not measured).",
        (
            "compare laws on the same split: backtest --law all",
            "fit only the larger runs, whose law is nearer to the target's",
            "expect the next larger run on the same side",
        ),
    ),
    Code(
        "SL403",
        "warning",
        "data-limited",
        "--unique-tokens holds the tokens below the optimum",
        "The split is the best without repeating data; the law does not model repetition, which may do better.",
        "allocate or compare was asked with --unique-tokens below the best split's tokens.",
        ("read the loss as an upper end: a few repetitions cost little", "collect more data"),
    ),
    Code(
        "SL404",
        "info",
        "split-outside",
        "the best split lies outside the fitted range",
        "The intervals of params and tokens hold the doubt of the parameters, not the choice of the law's form.",
        "params, tokens or compute of the best split lie outside the fitted range.",
        ("compare the splits of other laws before you rely on one",),
    ),
    Code(
        "SL405",
        "warning",
        "no-draws",
        "the intervals leave out the doubt of the parameters",
        "Without bootstrap draws an interval holds the scatter of the runs and the drift alone, and is too narrow.",
        "the fit has no draws: --bootstrap 0, or too few runs to resample.",
        ("fit again with --bootstrap 1000", "add runs"),
    ),
    Code(
        "SL406",
        "warning",
        "draws-without-split",
        "some bootstrap draws have no best split of their own",
        "In those draws the loss falls all the way to one parameter or one token: the data do not rule out that no "
        "optimum exists.",
        "any draw whose loss has no minimum along the budget; it counts beyond both ends of the interval.",
        ("read the interval as rough", "add runs on both sides of the optimum"),
    ),
    Code(
        "SL407",
        "warning",
        "few-draws",
        "too few bootstrap draws for intervals at this level",
        "The ends of the interval are then the chance of single draws.",
        "fewer than {engine.result.FEW} draws lie beyond each end.",
        ("ask for a lower --level", "fit with a larger --bootstrap"),
    ),
    Code(
        "SL408",
        "warning",
        "law-caution",
        "the law itself says where it is not to be trusted",
        "Some laws bend, break or hold only in a range: past the last break of a broken power law, say, a further one "
        "would not show in the fit.",
        "the law's entry in the catalogue names the places.",
        ("ask for a point nearer to the data", "compare laws by backtest"),
    ),
    Code(
        "SL410",
        "warning",
        "partial-in-fit",
        "the unfinished run is among the rows that the law was fitted to",
        "predict --partial combines the law and the run's own curve as two sources. A law that has seen the run is not "
        "a second one, and what the run shows counts twice.",
        "the fit's rows have the run's id and params.",
        ("fit without the run: fit ... --where \"run_id != 'NAME'\"",),
    ),
    Code(
        "SL411",
        "info",
        "partial-left-out",
        "some finished runs say nothing of the unfinished one",
        "Only runs of the same recipe, at the same fraction of their tokens, show how far the loss will still fall.",
        "another schedule; a learning rate that differs by more than {engine.partial.OTHER_SHARE:g} of its peak; "
        "warm-up at that fraction; no loss near it (neighbours more than {engine.partial.SPARSE:g} times apart); a "
        "curve that ends before the fit's row of the run does.",
        ("see that the runs left out are of another recipe", "log the loss more often"),
    ),
    Code(
        "SL412",
        "warning",
        "partial-few-runs",
        "few finished runs to learn the rest of the curve from",
        "The error of the gap is measured by holding out runs one after the other; of few runs it is hardly known.",
        "fewer than {engine.partial.FEW_RUNS} pairs of params and tokens among the finished runs used.",
        ("add curves of finished runs of the same recipe, of other sizes and lengths",),
    ),
    Code(
        "SL413",
        "warning",
        "partial-disagreement",
        "the law and the run's own curve disagree",
        "One of the two intervals is too narrow, and nothing here tells which. The combined interval is widened until "
        "the disagreement is no surprise.",
        "their predictions differ by more than the root of the sum of their squared half widths, in log loss.",
        (
            "see that the curves are of the same recipe, data and loss as the fit",
            "look for a fault of the run: its learning rate, its data, its batch",
        ),
    ),
    Code(
        "SL414",
        "info",
        "partial-outside",
        "the unfinished run lies outside the finished ones",
        "How far a loss falls from a fraction of its tokens to the end depends on tokens per parameter and a little on "
        "size; outside the finished runs that is extrapolated.",
        "params or tokens per parameter lie more than a tenth beyond those of every finished run used.",
        ("add finished runs nearer to the target, above all of its tokens per parameter",),
    ),
    Code(
        "SL415",
        "warning",
        "partial-mixed-annealing",
        "finished runs end at different shares of their peak learning rate",
        "A schedule that anneals at the end and one that does not look alike until then. Nothing says which of them "
        "the unfinished run will follow.",
        "the last learning rates, as shares of their peaks, differ by more than {engine.partial.OTHER_SHARE:g}.",
        ("keep runs of the target's schedule with --where, or say them in a column schedule",),
    ),
    Code(
        "SL416",
        "info",
        "partial-training-loss",
        "the curves hold training losses, which are noisy",
        "A training loss is of one batch, or of a few; a line through the last of them stands for the loss.",
        "the loss is taken from a column named as loggers name the training loss; the line goes through the last "
        "{engine.partial.WINDOW:.0%} of the tokens, with at least {engine.partial.WINDOW_POINTS} rows.",
        ("give validation losses where there are any: --map loss=COLUMN",),
    ),
    Code(
        "SL420",
        "info",
        "repeated-tokens",
        "a point repeats its tokens more often than costs nothing",
        "Up to about four passes, repeated tokens are worth nearly what fresh ones are; each pass beyond is worth less "
        "(Muennighoff et al. 2023, arXiv:2305.16264).",
        "tokens / unique_tokens of a point above {engine.repeats.FREE_EPOCHS:g}.",
        ("compare with fewer passes: allocate --unique-tokens gives the best number", "collect more unique tokens"),
    ),
    Code(
        "SL421",
        "warning",
        "worn-out-tokens",
        "so many passes over so few tokens make real losses worse",
        "Laws of repeated data fall for ever. Runs of a model that is large for its unique tokens turn up again after "
        "many passes; larger models do so sooner (Xue et al. 2023, arXiv:2305.13230, and the public C4 runs of "
        "arXiv:2305.16264).",
        "{engine.repeats.MANY_EPOCHS:g} passes or more, and fewer than {engine.repeats.FEW_UNIQUE:g} unique tokens a "
        "parameter: every series of the public C4 runs that goes there ends above its own lowest loss.",
        ("stop earlier, or train a smaller model", "use dropout, or more unique tokens"),
    ),
    Code(
        "SL422",
        "warning",
        "untested-mixture",
        "sets of pools are ranked, and no fitted run mixes pools",
        "The error of a set is the law's own rule: utilities average, half-lives stretch with the number of pools. "
        "Runs on single pools do not test it, and no interval holds its error.",
        "pools: no row of the fit has shares in more than one pool.",
        ("train one run on the set that is chosen, and compare", "add a few mixed runs to the table and fit again"),
    ),
    Code(
        "SL423",
        "warning",
        "passes-beyond",
        "the best set repeats a pool more often than any fitted run did",
        "A half-life is read off the passes that were made; beyond them it is an extrapolation.",
        "pools: samples / unique_samples over the number of pools in the set, above the largest share * samples / "
        "unique_samples of the fitted rows of a pool.",
        ("train on that pool for longer", "compare with a looser set, which repeats less"),
    ),
    Code(
        "SL424",
        "warning",
        "pools-undecided",
        "the runs do not tell the best set of pools from the next",
        "In a good part of the bootstrap's draws another set has the lower error.",
        "pools: the set with the least predicted error is the best in fewer than {decide.pools.DECIDED:.0%} of the "
        "draws.",
        ("read how much error the next set would cost", "add runs about that number of samples"),
    ),
    Code(
        "SL425",
        "warning",
        "mixture-shape",
        "the fitted mixture law lacks the shape that it must have",
        "By the D-CPT law more of a corpus lowers its own loss. Where the fitted one rises instead, the search for a "
        "best ratio ends at an edge or in an artefact.",
        "the derivative towards the ratio at every row of the fit; the other signs hold for any positive parameters.",
        ("add runs at more ratios, above all small ones", "look for rows of another corpus or recipe"),
    ),
    Code(
        "SL426",
        "warning",
        "mixture-outside",
        "the best mixture lies at or beyond the edge of those that were tried",
        "A mixing law is a smooth guess between the mixtures that it saw. Beyond the largest or smallest share tried "
        "nothing holds it, and an optimum at an edge says only that it lies further.",
        "a share of the best mixture within {decide.mixture.NEAR_EDGE:.0%} of the tried range from its end, or beyond.",
        (
            "train a few mixtures about the best one and fit again",
            "keep to what was tried with --bounds NAME=LOW..HIGH",
        ),
    ),
    Code(
        "SL427",
        "warning",
        "mixture-flat",
        "the loss is nearly the same over a wide range of mixtures",
        "Where the optimum is flat its place is hardly known, and hardly matters: the gain does not pay for precision.",
        "the interval of a share is wider than {decide.mixture.FLAT:.0%} of what the bounds allow.",
        ("choose within the interval by other wants", "add mixtures near its ends to narrow it"),
    ),
    Code(
        "SL428",
        "warning",
        "mixture-cap",
        "the cap on another loss can't be kept in every draw",
        "A draw of the bootstrap in which no mixture keeps the cap has no best one. It may lie anywhere, and so widens "
        "the interval at both ends.",
        "draws without a feasible mixture.",
        ("allow more with --cap", "widen --bounds"),
    ),
    Code(
        "SL429",
        "info",
        "mixture-sums",
        "shares were divided by their sums",
        "Shares rounded to a few decimals do not sum to one; that of a source is then a little off.",
        "asked for with --renormalise; says the smallest and largest sum.",
        ("give shares with more digits",),
    ),
    Code(
        "SL430",
        "warning",
        "vocabulary-units",
        "tokens or compute do not go with the table's characters and sizes",
        "The best vocabulary weighs parameters against text. Where tokens are not characters * f(V), or compute is not "
        "6 * (params_nonvocab + vocab_size * width) * tokens, a column is in another unit, or counts other parameters: "
        "the vocabulary's matrix twice, or not at all.",
        "vocab: rows in which either ratio lies below {decide.vocab.ODD[0]:g} or above {decide.vocab.ODD[1]:g}.",
        (
            "give counts, as in --map characters='gigachars*1e9'",
            "leave tokens and flops out (or name other columns): both are then worked out from characters",
        ),
    ),
    Code(
        "SL431",
        "warning",
        "vocabulary-term-weak",
        "the exponent of the vocabulary term ended at its limit",
        "The vocabulary's term is small beside what the other terms leave unexplained, so approach 3 can't tell its "
        "exponent: the answer is that of the limit. So it is on the paper's own table with true tokens.",
        "vocab: alpha2 of the fit lies within a thousandth of the range of its limit and was not held.",
        (
            "prefer approach 1",
            "train more vocabularies at each size, several times",
            "hold the exponent with --fix in fit vocab, and give that fit",
        ),
    ),
    Code(
        "SL432",
        "warning",
        "vocabulary-extrapolated",
        "the best vocabulary, or the size asked about, lies outside the table",
        "Power laws through small models say where the best vocabulary of a larger one lies only if they go on.",
        "vocab: an answer outside the vocabularies of the table, or a size of more than 1.1 times the largest.",
        ("train the sizes next below the target with vocabularies on both sides of the answer",),
    ),
    Code(
        "SL433",
        "warning",
        "vocabulary-approaches-apart",
        "the three approaches disagree",
        "Each rests on other assumptions: power laws of the best points, the compute of a text, a form of the loss. "
        "Where they disagree, at least one does not hold.",
        "vocab: the largest answer is more than {decide.vocab.APART:g} times the smallest (the published slip of units "
        "left out).",
        ("take the range of the answers for the answer", "add runs near the size that you ask about"),
    ),
    Code(
        "SL434",
        "warning",
        "vocabulary-beyond-f",
        "the best vocabulary is larger than f(V) was measured for",
        "How many tokens a character makes was measured up to 200,000 tokens of vocabulary and is held there beyond.",
        "vocab: an answer above {accounting.LARGEST_VOCABULARY:,.0f}.",
        ("measure your tokenizers' tokens for each character and give a table with both tokens and characters",),
    ),
    Code(
        "SL440",
        "warning",
        "split-unfounded",
        "the law explains no more of the runs than chance would",
        "Where the loss hardly moves with size and data beyond its noise, the fitted terms are noise too, and so is "
        "the split that balances them.",
        "allocate: an F test of the law against a constant on the rows of the fit, p above {decide.allocate.CHANCE:g}.",
        ("add runs over a wider range of sizes and tokens", "look whether the loss was taken from the right column"),
    ),
    Code(
        "SL441",
        "warning",
        "further-at-end",
        "a further input is best at the end of its fitted range",
        "allocate looks for the best sparsity, granularity or vocabulary only where runs were seen. A best value at an "
        "end says that a better one may lie beyond, not where.",
        "the best value lies within 1/10,000 of the range from its end.",
        ("train runs beyond that end", "hold the input at a value of your choice: --given NAME=NUMBER"),
    ),
    Code(
        "SL442",
        "info",
        "cost-convention",
        "how the compute of this law's inputs is counted",
        "Not every law costs 6*params*tokens, and what the count leaves out moves the best split.",
        "allocate was asked of a law whose cost has something to be said of.",
        ("compare with the compute that your trainer reports",),
    ),
    Code(
        "SL443",
        "warning",
        "crossing-unresolved",
        "the place where two recipes cross is not resolved",
        "Where the interval of a crossing reaches an end of the range, many draws do not cross in it: the recipes may "
        "as well keep their order.",
        "compare: an end of a crossing's interval lies outside the range, or the fits have no draws.",
        ("add runs of both recipes near the crossing", "fit again with --bootstrap 1000"),
    ),
    Code(
        "SL444",
        "warning",
        "compute-unlike",
        "two fits count compute in different ways",
        "A factor between two computes holds the difference between the counts: attention, embeddings, or a small "
        "model that was trained first.",
        "compare: one law is of a table's own flops, the other spends 6*params*tokens, or something else.",
        ("fit both to tables with flops of one kind",),
    ),
    Code(
        "SL445",
        "warning",
        "compare-outside",
        "recipes are compared where one of them has no runs",
        "There its curve is its law's word. The intervals hold the error that inner backtests showed, not one that "
        "sets in beyond every run.",
        "compare: compute of the range, or of a place, lies beyond a table's own by more than "
        "{decide.compare.BEYOND:g} times.",
        ("read the interval as a least one", "narrow the range with --flops LOW..HIGH"),
    ),
    Code(
        "SL435",
        "info",
        "second-step-outside",
        "the first step leads outside the second one's table",
        "A larger model has a lower loss than any that the second law was fitted to: that step extrapolates too. Its "
        "interval grows with the distance as its own inner backtests demand.",
        "predict --then: a predicted input of the second fit outside its fitted range.",
        ("add checkpoints or models of lower loss to the second fit's table",),
    ),
    Code(
        "SL436",
        "warning",
        "two-losses",
        "the two steps took their common quantity from columns of different names",
        "A law of one evaluation set's loss says nothing of another's: a curve of error against one, fed with the "
        "other, is off by as much as the two differ.",
        "predict --then: both fits took it from a column of another name than its own, and the names differ.",
        ("fit both steps on one column: --map loss=COLUMN",),
    ),
    Code(
        "SL437",
        "warning",
        "censored-pass-rates",
        "some models had too few successes for a pass rate",
        "A model without success in K draws has a rate below about 3/K, not of 0. Leaving it out, or taking r/K of a "
        "sampling that stopped at its first success, puts the small models too high.",
        "emergence: fewer than two successes at a scale (one, where the number of draws was fixed).",
        ("draw more for the small models", "read their points as limits"),
    ),
    Code(
        "SL438",
        "warning",
        "at-chance",
        "most scales are not told from guessing",
        "Scores at chance are noise about a constant. They say neither where the rise begins nor how steep it is.",
        "emergence --chance --items: more than {decide.tasks.MOST_AT_CHANCE:.0%} of the scales within "
        "{decide.tasks.ABOVE_CHANCE:g} standard errors of guessing.",
        ("add larger models", "take a score without a chance level: bits per byte of the answer, or a pass rate"),
    ),
    Code(
        "SL439",
        "warning",
        "second-step-open",
        "some draws of the first step have no value in the second",
        "A shifted power has none below its floor, for one. Such draws count beyond both ends of the interval.",
        "predict --then: a larger share of the draws than the interval leaves out at one end.",
        ("ask for a point nearer to the data", "hold the floor of the second law with --fix"),
    ),
    Code(
        "SL446",
        "warning",
        "growth-held",
        "the small model's tokens are held at all there are",
        "The timing law was made from trainings much longer than what it asks of the small model. Where it asks for "
        "more than the whole, it says nothing.",
        "growth: the law's tokens against those of the whole training.",
        ("train from scratch", "ask for a longer training"),
    ),
    Code(
        "SL447",
        "warning",
        "growth-untried",
        "growth beyond what its guideline was made from",
        "The published timing is of a growth factor of 4 and of models of 410M to 7B parameters.",
        "growth: --factor other than {decide.growth.FACTOR:g}, or --params outside those sizes without a fit of one's "
        "own.",
        ("fit gstack to runs of your own: growth --fit FIT.json", "take a factor of 4"),
    ),
    Code(
        "SL475",
        "info",
        "critical-not-best",
        "a critical batch size is no best batch size",
        "It bounds how far training can be spread over machines at little cost in tokens. The batch of the lowest loss "
        "at a given number of tokens is another number, found by trying batches. The gradient noise scale stands for "
        "it only where the loss is about as curved in every direction.",
        "cbs with the hyperbola, and noise: always.",
        ("choose a batch for its loss with hparams, or from a grid of batches and learning rates",),
    ),
    Code(
        "SL476",
        "warning",
        "unannealed-batches",
        "batches are compared on curves whose learning rate has not decayed",
        "Curves of constant rate and different batches cross before they decay: steps to a loss along them make a "
        "biased hyperbola.",
        "cbs --levels and trajectory --estimate: always, as points along a curve come before its end.",
        (
            "give a table of steps to a loss, each run annealed to it (or of averaged weights)",
            "read the critical batch as that of the schedule it was measured with",
        ),
    ),
    Code(
        "SL477",
        "warning",
        "levels-left-out",
        "some losses give no batch size",
        "A hyperbola takes three batch sizes that reach the loss, on both sides of the critical one; a parabola of "
        "tokens must have its minimum among the batches tried.",
        "cbs: levels whose status is not `used`, counted by reason; {decide.critical.LEAST} batches at least.",
        ("add batches beyond the edge, or train the slow runs longer", "name other --levels"),
    ),
    Code(
        "SL478",
        "warning",
        "noise-scale-open",
        "the log can't tell the gradient from its noise",
        "Where the squared gradient is small beside the noise of its estimate, its mean may be zero or below, and the "
        "noise scale has no upper end.",
        "noise: parts of the log whose mean of |G|^2 is not above zero, or whose interval is open; moving averages at "
        "or below zero.",
        ("log more steps", "take a larger --big-batch, as the norm summed over several steps"),
    ),
    Code(
        "SL479",
        "warning",
        "second-hand-rule",
        "a rule that was read at second hand",
        "Its paper was not read, a summary of it was: numbers may be off.",
        "cbs --method branched: always.",
        ("read Merrill et al. 2025, arXiv:2505.23971, before spending much on it",),
    ),
    Code(
        "SL480",
        "warning",
        "trajectory-untried",
        "a trajectory beyond the runs behind its constants",
        "Kaplan's law has no floor and was fitted to models of one kind and one schedule; its intervals hold the doubt "
        "of the constants alone.",
        "trajectory: the size, batch or steps asked lie outside those of the runs (of the paper, for --published).",
        ("estimate the constants from runs of your own: trajectory --estimate", "ask nearer to the runs"),
    ),
    Code(
        "SL481",
        "warning",
        "sizes-not-converged",
        "some sizes were not trained to the end",
        "The recipe takes the last loss of a run for that of endless training; one that still falls lifts the law.",
        "trajectory --estimate: sizes without a run whose last doubling of steps lowered the loss by at most "
        "--converged ({decide.steps.CONVERGED:.0%}).",
        ("train them longer", "read the joint fit, which needs no converged run"),
    ),
    Code(
        "SL482",
        "warning",
        "constants-without-intervals",
        "the runs are too few to leave one out",
        "Each run left out in turn tells how far the constants hang on it. Where the others can't tell them, there is "
        "no interval.",
        "trajectory --estimate: not more runs than constants, or a run without which the fit is lost.",
        ("add small runs: sizes, and batches at one size",),
    ),
    Code(
        "SL483",
        "warning",
        "forgotten-beyond",
        "the fact is forgotten later than anything was read",
        "The line in the logarithm of time is drawn beyond the last reading; it may bend before it meets zero.",
        "retention: 10**(R_0 / a) against the last step that was read.",
        ("read the probes longer", "quote the decay, not the time"),
    ),
    Code(
        "SL484",
        "warning",
        "few-probes",
        "the probes are too few to resample",
        "Points of one probe share its error, so that probes are resampled, not points.",
        "retention: fewer than {decide.retention.FEW} probes.",
        ("add probes",),
    ),
    Code(
        "SL450",
        "warning",
        "idle-updates",
        "several updates of a schedule are at a learning rate of zero",
        "Such an update changes nothing, weight decay included where it goes with the rate: its tokens are spent for "
        "nothing.",
        "schedule show and compare: more than one update at zero; the last update of a fall to zero is one.",
        ("end the schedule where it reaches zero", "give it a floor"),
    ),
    Code(
        "SL451",
        "warning",
        "horizons-differ",
        "schedules of different lengths stand in one ranking",
        "The bound falls with the number of updates, so a longer schedule ranks better for its length alone.",
        "schedule compare --bound: the numbers of steps differ.",
        ("compare schedules of one length: --total 24000",),
    ),
    Code(
        "SL452",
        "warning",
        "few-gradient-norms",
        "few gradient norms to refine a schedule from",
        "Norms are noisy, and the refined rate goes with their inverse: unsmoothed noise becomes a ragged schedule.",
        "schedule show --refine: fewer than {decide.schedules.FEW_NORMS} norms.",
        ("log the norm more often", "take the named schedule that is printed beside it"),
    ),
    Code(
        "SL453",
        "warning",
        "norms-begin-late",
        "the gradient norms begin late in the run",
        "The warm-up of a refined schedule comes from the large gradients of the first updates, which are not there.",
        "schedule show --refine: the first norm lies beyond {decide.schedules.LATE:.0%} of the last step.",
        ("log the norm from the first update on", "give the schedule a warm-up of your own"),
    ),
    Code(
        "SL454",
        "info",
        "norms-not-said-l1",
        "the refinement for Adam takes L1 norms",
        "Adam's step bounds each coordinate, so the rule weighs by the inverse L1 norm. Most trainers log the L2 norm "
        "that they clip by; the two have one shape only where gradients stay equally sparse.",
        "schedule show --refine with --optimizer adam: the column's name says no l1.",
        ("log the sum of absolute gradients", "for SGD, and L2 norms, say --optimizer sgd"),
    ),
    Code(
        "SL455",
        "info",
        "size-stands-in",
        "another count stands in for what a rule counts",
        "Rules for learning rate and batch count N with or without embeddings and head, and compute in ways of their "
        "own. All parameters move a rate by a few percent at large sizes, and by much more where the vocabulary is a "
        "large part of the model.",
        "hparams: a rule's count was neither given nor follows from --vocab-size and --width; compute is "
        "6*params*tokens.",
        ("give --params-count nonvocab=6.6B", "give --vocab-size and --width", "give --flops"),
    ),
    Code(
        "SL456",
        "warning",
        "rule-outside",
        "a rule is asked beyond what it was fitted on",
        "The published rules come from models of 10M to a few B parameters; nobody published what they are worth far "
        "beyond.",
        "hparams: a quantity of the request against the range of the rule's own experiments.",
        ("try a few rates about the recommendation at a smaller scale", "fit the rule to optima of your own: --fit"),
    ),
    Code(
        "SL457",
        "warning",
        "rules-apart",
        "the rules' learning rates lie far apart",
        "They were fitted with other batches, schedules, final rates and counts of N. An average of them is the rule "
        "of no recipe.",
        "hparams: highest over lowest learning rate of the rules that compare, against {laws.hyper.PLATEAU.lr[1]:g}, "
        "the widest plateau within {laws.hyper.PLATEAU.loss:.2%} of the lowest loss.",
        ("take the rule whose recipe is yours", "sweep the rate on a small model", "--law chooses rules"),
    ),
    Code(
        "SL458",
        "warning",
        "other-batch",
        "the batch is far from the one that a rule's learning rate goes with",
        "A rule gives a rate for its own batch. At a fixed batch the best rate falls with the tokens, where Step Law's "
        "rises because its batch grows.",
        "hparams --batch-tokens: the batch against each rule's own, more than {laws.hyper.PLATEAU.batch[1]:g} times "
        "apart.",
        ("train with the rule's batch", "carry the rate over: hparams --lr --from-batch --to-batch"),
    ),
    Code(
        "SL459",
        "warning",
        "horizon-outside",
        "a learning rate is carried beyond what the horizon rule was fitted on",
        "The exponent was measured at one batch, and varies with the size.",
        "hparams --from-tokens --to-tokens: tokens, size and batch against those of the experiments.",
        ("sweep the rate at two horizons of your own, and fit: hparams --lr-sweep",),
    ),
    Code(
        "SL460",
        "warning",
        "beyond-noise-scale",
        "a batch at or above the noise scale",
        "The linear and the square-root rule hold for batches far below the noise scale; above it a larger batch "
        "hardly lowers the noise, and the best rate stops rising.",
        "hparams --noise-scale: the larger of the two batches against it.",
        ("take the value by the noise scale", "train with a smaller batch"),
    ),
    Code(
        "SL461",
        "warning",
        "no-lr-optimum",
        "some sizes and tokens have no best learning rate",
        "Where the best rate tried is the first or the last, the optimum lies outside the sweep; a guess would bend "
        "the rule.",
        "hparams --lr-sweep: three rates or more, the best between others, and a parabola that opens upwards through "
        "it and up to {decide.lr_moves.BESIDE} on either side.",
        ("add learning rates beyond the edge", "take out diverged runs with --where"),
    ),
    Code(
        "SL462",
        "info",
        "batch-unknown",
        "a learning-rate sweep without a batch column",
        "The best rate depends on the batch; the horizon rule is one at a fixed batch.",
        "hparams --lr-sweep: neither batch_tokens nor batch_sequences is in the table.",
        ("add the column, or name it with --map batch_tokens=COLUMN",),
    ),
    Code(
        "SL465",
        "warning",
        "grid-edge",
        "the best cell of a grid lies at the edge of what was tried",
        "The true optimum may lie beyond: such a grid tells only from one side where it is.",
        "fit step-law, hpgrid: the best cell has the lowest or highest learning rate or batch of its grid.",
        ("add cells beyond that edge", "keep such grids, as bounds, with --at-edge keep"),
    ),
    Code(
        "SL466",
        "warning",
        "grid-no-minimum",
        "a grid has no minimum by the method that was asked for",
        "A quadratic through noisy cells may bend the wrong way, or have its vertex beyond what was tried.",
        "fit step-law: the surface, parabola or interpolant of --optima has no minimum inside the grid.",
        ("take --optima near", "add cells round the best one"),
    ),
    Code(
        "SL467",
        "warning",
        "grid-holes",
        "a grid lacks many of its cells",
        "The best cell may be one that was not run, or that was left out as diverged.",
        "fit step-law: more than a quarter of the rectangle of rates and batches is missing.",
        ("run the missing cells round the best one",),
    ),
    Code(
        "SL468",
        "warning",
        "surface-beyond",
        "a fitted surface is best beyond the learning rates or batches of its table",
        "The bowl was seen from one side only; where its bottom lies is an extrapolation.",
        "the best rate or batch of hp-surface at a size and tokens, against the ranges of the fit.",
        ("add runs at higher or lower rates and batches",),
    ),
    Code(
        "SL485",
        "warning",
        "rate-moves",
        "the learning rate moves within the curve that is extrapolated",
        "Families of learning curves know no learning rate. The fall that a decay brings looks to them like the "
        "curve's own, and they carry it on beyond the end of the schedule, where nothing falls that fast.",
        "extrapolate: a learning rate further than {decide.one_curve.STEADY:.0%} from its peak in the window (a rise "
        "at the beginning is a warm-up, and left out), or a schedule of another name than constant.",
        (
            "fit the part at a constant rate: --where 'step < …', as the warning says",
            "take forecast, or fit annealing or multi-power, which know the schedule",
        ),
    ),
    Code(
        "SL486",
        "info",
        "rate-unknown",
        "the curve has no learning rate",
        "Whether it was constant can't be checked: through a decay the extrapolation would be wrong.",
        "extrapolate: no column lr, and none that names the schedule.",
        ("name the column: --map lr=COLUMN",),
    ),
    Code(
        "SL487",
        "warning",
        "far-ahead",
        "the place asked lies much further out than inner backtests tried",
        "The interval grows with the distance as inner backtests of the curve showed over shorter distances. Nothing "
        "has shown that it goes on so.",
        "extrapolate: the logarithm of the factor beyond the curve's end is more than half as large again as that of "
        "the longest inner backtest.",
        ("read the interval as a guess", "ask for a nearer step, or wait until the curve is longer"),
    ),
    Code(
        "SL488",
        "warning",
        "families-differ",
        "families that fit about as well say different things",
        "The curve does not tell which shape is the right one, and the answer hangs on it.",
        "extrapolate: the families' weighted spread at a place asked is larger than their own errors and the noise.",
        ("look at each family's prediction and weight", "ask for a nearer step, or wait until the curve is longer"),
    ),
    Code(
        "SL489",
        "info",
        "family-left-out",
        "a family is not among those that were weighed",
        "It has more parameters than the curve has points, found no optimum, or gives no loss where it was asked.",
        "extrapolate: what each family's fit says.",
        ("give more points, or leave less of the curve's beginning out: --drop-first 0",),
    ),
    Code(
        "SL490",
        "warning",
        "no-inner-backtest",
        "the curve is too short to hold a part of it back",
        "Neither the families' weights nor the growth of the error are measured.",
        "extrapolate: no cut leaves {decide.extrapolate.LEAST_POINTS} points before it and one behind. Families weigh "
        "the same, and the error grows by {engine.uncertainty.LEAST_DRIFT:g} of the loss for each factor e.",
        ("give more points of the curve",),
    ),
    Code(
        "SL491",
        "warning",
        "smoothing-lags",
        "the smoothing lags behind the curve",
        "An exponential moving average of a falling loss lies above it, and so does what is fitted to it.",
        "extrapolate: --smooth ema:….",
        ("take a centred smoothing, window:5% or gaussian:5", "take none: the families average over rows themselves"),
    ),
    Code(
        "SL492",
        "warning",
        "loss-rises",
        "the loss rises at the end of the curve",
        "Every family falls to a floor. A run that diverges, or whose data changed, is none of them.",
        "extrapolate: of the last fifth of the curve, the later half lies above the earlier by more than three "
        "standard errors.",
        ("look at the run", "fit the part before it rose: --where 'step < …'"),
    ),
    Code(
        "SL493",
        "info",
        "short-horizon",
        "an exponential is a forecast for short horizons",
        "AutoLRS forecasts a stage from its first tenth. Further out a loss goes on falling where an exponential has "
        "come to rest: on 72,000 steps at a constant rate, fitted to a third, its error is three times that of a power "
        "law with a floor, or more.",
        "extrapolate: --family autolrs.",
        ("weigh other families beside it", "ask for a step near the end of the curve"),
    ),
    Code(
        "SL331",
        "error",
        "run-diverged",
        "a running curve diverges: its loss rises away from its forecast, or is no number any more",
        "The optimisation has become unstable, or a worker or a file is broken; the forecast is that of before.",
        "forecast: a lasting shift found by a sequential test at a false-alarm rate of {decide.watch.FALSE_ALARMS} for "
        "a whole run, where the loss rises and the distance grows; or NaN or infinity in the last rows.",
        ("look at the gradient norms", "go back to a checkpoint before that step", "lower the learning rate"),
    ),
    Code(
        "SL332",
        "warning",
        "run-jumped",
        "a running curve has jumped off its forecast and stays there",
        "The data, the batch, a loss term or the evaluation set has changed at that step.",
        "forecast: the test of SL331, where the distance was there at once. Its new level is learned and the forecast "
        "goes on from there.",
        ("check what changed at that step", "forecast the part before and after it apart with --where"),
    ),
    Code(
        "SL333",
        "warning",
        "run-drifts",
        "a running curve drifts away from its forecast",
        "The data grow easier or harder, the schedule is not the one that was given, or the law is wrong for this run.",
        "forecast: the test of SL331, where the distance came slowly.",
        ("check the schedule and the data order", "look at --look-back"),
    ),
    Code(
        "SL334",
        "warning",
        "fall-not-seen",
        "a learning rate will fall and has not fallen yet, so its worth is taken from other people's runs",
        "Points at one learning rate say nothing of what a fall gains.",
        "forecast without --fit: more than {decide.forecast.UNSEEN} of the peak is still to fall, less than "
        "{decide.forecast.SEEN} has.",
        ("give --fit of finished runs of this size and batch", "wait until the rate has fallen a little"),
    ),
    Code(
        "SL335",
        "warning",
        "peak-not-fitted",
        "a schedule's peak lies above that of all fitted runs",
        "Every law of curves prefers a larger rate without end: none says where training becomes worse.",
        "forecast with --fit: the peak is more than {decide.forecast.RATE_TOLERANCE} of itself above the fit's.",
        ("fit runs at this peak", "lower it"),
    ),
)

if len({entry.code for entry in _ENTRIES} | {entry.name for entry in _ENTRIES}) < 2 * len(_ENTRIES):
    raise ValueError("two warnings have one code or name")
CODES: dict[str, Code] = {entry.code: entry for entry in _ENTRIES}
NAMES: dict[str, str] = {entry.name: entry.code for entry in _ENTRIES}


def severity(code: str) -> Severity:
    """How bad a code is; an unknown one is a bug."""
    return CODES[code].severity


def find(word: str) -> Code | None:
    """The code of that number or kebab name, in either case; None where there is none."""
    return CODES.get(NAMES.get(word.strip().lower(), word.strip().upper()))


def get_code(word: str) -> Code:
    """The code of that number or kebab name, in either case; raises UsageError naming the nearest."""
    found = find(word)
    if found is None:
        names = word.strip().upper().startswith("SL")
        known = CODES if names else NAMES
        close = nearest(word.strip().upper() if names else word.strip().lower(), known)
        hint = close if "did you" in close else "`scaling-lab explain` lists them"
        raise UsageError(f"no warning has the code or name {word.strip()!r}; {hint}")
    return found


def catalogue(found: Iterable[Code]) -> dict[str, Any]:
    """The JSON of `scaling-lab explain --json`."""
    return {"schema": "scaling-lab/codes/1", "codes": [entry.to_dict() for entry in found]}
