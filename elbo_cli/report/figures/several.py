"""Several runs in one figure: curves over one another, seeds around their means, and paired differences."""

from collections.abc import Mapping, Sequence

from elbo_cli.comparison.records import Comparison, ConfigResult
from elbo_cli.records import EpochRecord
from elbo_cli.report.curves import late, measured
from elbo_cli.report.figures.style import LIGHT, SERIES, Figure, drawing
from elbo_cli.report.figures.training import settle

NATS = "nats per datum"
SEEDS = "Seeds may binarise their validation data each in its own way: the tables, on shared data, compare them better."
NAMED = 6  # configs that a legend has room for; the palette has as many colours


def colour(found: Comparison, config: str) -> str:
    """Of a config: by its letter's place, the same in every figure."""
    names = sorted((c.config for c in found.configs), key=lambda name: (len(name), name))
    return LIGHT[SERIES[names.index(config) % len(SERIES)]]


def curves(found: Comparison, trainings: Mapping[str, Sequence[EpochRecord]]) -> Figure | None:
    """The validation ELBO of every run; one colour for each config."""
    lines = {run: measured(rows, "valid_elbo") for run, rows in trainings.items()}
    lines = {run: points for run, points in lines.items() if len(points) > 1}
    if not lines:
        return None
    config_of, seen = {row.run: row.config for row in found.runs}, set[str]()
    with drawing("curves", f"validation ELBO, {NATS}", "epoch") as drawn:
        for run, points in lines.items():
            config = config_of[run]
            label = config if config not in seen and len(found.configs) <= NAMED else None
            seen.add(config)
            epochs, values = zip(*points, strict=True)
            drawn.axes.plot(epochs, values, color=colour(found, config), lw=1.4, alpha=0.85, label=label)
        settle(drawn.axes, [value for points in lines.values() for _, value in late(points)])
        drawn.legend()
    return Figure("How training went", curves_caption(found, lines), (drawn.panel,))


def curves_caption(found: Comparison, lines: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """Which run ends highest and which lowest, and when the highest passed where the lowest ends."""
    ends = {run: points[-1][1] for run, points in lines.items()}
    best, worst = max(ends, key=lambda run: ends[run]), min(ends, key=lambda run: ends[run])
    config_of = {row.run: row.config for row in found.runs}
    text = (
        f"{len(lines)} runs of {len(found.configs)} configs. The highest ends at {ends[best]:.2f} ({config_of[best]})"
    )
    if best != worst:
        passed = next(epoch for epoch, value in lines[best] if value >= ends[worst])
        text += f", the lowest at {ends[worst]:.2f} ({config_of[worst]}): the highest was there after epoch {passed}"
    return f"{text}. {SEEDS}" if any(len(config.runs) > 1 for config in found.configs) else f"{text}."


def seeds(found: Comparison) -> Figure:
    """The ELBO of every run, and of every config the mean over its seeds with two standard errors."""
    with drawing("seeds", "ELBO, nats: runs, and mean ± 2 s.e.", "config") as drawn:
        for place, config in enumerate(found.configs):
            runs = [row.elbo for row in found.runs if row.config == config.config]
            drawn.axes.scatter([place] * len(runs), runs, s=22, lw=0, alpha=0.55, color=colour(found, config.config))
            se = config.se_seeds["elbo"]
            mean = config.means["elbo"]
            drawn.axes.errorbar(
                place, mean, 2 * (se or 0.0), fmt="_", ms=18, capsize=4, color=colour(found, config.config)
            )
        drawn.axes.set_xticks(range(len(found.configs)), [config.config for config in found.configs])
        drawn.axes.margins(x=0.15)
    return Figure("Seeds around their means", seeds_caption(found.configs), (drawn.panel,))


def seeds_caption(configs: Sequence[ConfigResult]) -> str:
    """The best config's mean and spread, against how far apart the configs are."""
    best, last = configs[0], configs[-1]
    se = best.se_seeds["elbo"]
    text = f"{best.config} has the highest mean, {best.means['elbo']:.2f}"
    text += f" ± {se:.2f} over {len(best.runs)} seeds. " if se is not None else ", from one seed. "
    if len(configs) == 1:
        return text
    return text + f"From {best.config} to {last.config} it is {best.means['elbo'] - last.means['elbo']:.2f} nats."


def differences(found: Comparison) -> Figure | None:
    """The best config less each other one: the ELBO's difference with its interval."""
    rivals = [d for d in found.differences if d.quantity == "elbo"]
    if not rivals:
        return None
    size = (4.5, 1.5 + 0.34 * len(rivals))
    with drawing("differences", f"ELBO of {rivals[0].ahead} less that of ..., nats", "", "", size) as drawn:
        for place, d in enumerate(rivals):
            shade = LIGHT["blue"] if d.told else LIGHT["muted"]
            reach = [[d.mean - d.low], [d.high - d.mean]]
            drawn.axes.errorbar([d.mean], [place], xerr=reach, fmt="o", ms=5, capsize=4, color=shade)
        drawn.axes.axvline(0, color=LIGHT["ink"], lw=1, ls="--")
        drawn.axes.set_yticks(range(len(rivals)), [d.behind for d in rivals])
        drawn.axes.set_ylim(len(rivals) - 0.5, -0.5)
    told = [d.behind for d in rivals if d.told]
    caption = f"Paired datum by datum, with a 95 % interval. {found.verdict}"
    if len(rivals) > 1:
        caption += f" {len(told)} of {len(rivals)} intervals, which hold all together, keep clear of the dashed line."
    return Figure("Which config won?", caption, (drawn.panel,))


def tightness(found: Comparison) -> Figure | None:
    """What a difference of the ELBO is made of: a better model, or a tighter bound."""
    by = {(d.behind, d.quantity): d.mean for d in found.differences}
    rivals = list(dict.fromkeys(d.behind for d in found.differences if d.quantity == "log_px"))
    if not rivals:
        return None
    size = (4.5, 1.9 + 0.34 * len(rivals))
    model = [by[name, "log_px"] for name in rivals]
    bound = [-by[name, "gap"] for name in rivals]
    with drawing("tightness", f"{found.configs[0].config} less ..., nats", "", "", size) as drawn:
        places = range(len(rivals))
        drawn.axes.barh([p - 0.17 for p in places], model, 0.32, color=LIGHT["blue"], label="better model: log p(x)")
        drawn.axes.barh([p + 0.17 for p in places], bound, 0.32, color=LIGHT["orange"], label="tighter bound: -gap")
        drawn.axes.axvline(0, color=LIGHT["ink"], lw=1, ls="--")
        drawn.axes.set_yticks(places, rivals)
        drawn.axes.set_ylim(len(rivals) - 0.5, -0.5)
        drawn.legend()
    caption = (
        f"Against {rivals[0]}, {found.configs[0].config} has {model[0]:+.2f} nats of log p(x) (a better model) and "
        f"{bound[0]:+.2f} of bound (a smaller gap); the two together are what its ELBO gained."
    )
    return Figure("A better model, or a tighter bound?", caption, (drawn.panel,))
