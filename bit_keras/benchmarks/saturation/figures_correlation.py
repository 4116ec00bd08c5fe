"""Rank correlations between tasks (Figures F.20 and F.21)."""

from bit_keras.benchmarks.drawing.plot import Heatmap, Panel, Plot, Table
from bit_keras.benchmarks.saturation.across import UPSTREAM
from bit_keras.benchmarks.saturation.analysis import Analysis
from bit_keras.benchmarks.saturation.correlation import SHARE, Matrix
from bit_keras.benchmarks.saturation.figure_parts import NAMES, shots_name


def correlation_panels(analysis: Analysis) -> list[Panel]:
    """Returns a heat map per number of shots, and the order of tasks."""
    made = [
        Panel(
            title=f"Rank correlations{shots_name(shots)}",
            text="Spearman's correlation of accuracies over models that were "
            "measured on both; the interval (hover, CSV) takes models to be "
            "independent, which those of one family are not. Tasks are in the "
            "order in which they go along with the upstream accuracy.",
            plot=Plot(axes=(_heatmap(found),), columns=1),
            csv=found.frame(),
        )
        for shots, found in sorted(
            analysis.correlations.items(), key=lambda item: item[0] or 0
        )
    ]
    if len(analysis.order):
        made.append(_order(analysis))
    return made


def _heatmap(found: Matrix) -> Heatmap:
    against = found.rho[UPSTREAM].drop(UPSTREAM)
    names = [UPSTREAM, *against.sort_values(ascending=False).index]
    hover = [
        [
            f"{one}, {two}\n{found.rho.loc[one, two]:.3f} "
            f"[{found.low.loc[one, two]:.3f}, {found.high.loc[one, two]:.3f}]"
            f"\n{found.n.loc[one, two]} models"
            for two in names
        ]
        for one in names
    ]
    return Heatmap(
        values=found.rho.loc[names, names].to_numpy(float),
        x_names=names,
        y_names=names,
        low=-1.0,
        high=1.0,
        hover=hover,
    )


def _order(analysis: Analysis) -> Panel:
    frame = analysis.order.assign(on=analysis.order["on"].map(NAMES))
    frame = frame.rename(columns={"on": "fitted to"})
    first = frame[frame["fitted to"] == NAMES["hull"]]
    others = frame[frame["fitted to"] != NAMES["hull"]]
    return Panel(
        title="Order of saturation",
        text=f"saturates_at: the upstream accuracy at which a task has reached "
        f"{SHARE:.0%} of its saturation value, by the law. Tasks whose fit is "
        "not identified have no place.",
        table=first,
        more=(Table(caption="Other fits", frame=others, folded=True),)
        if len(others)
        else (),
        csv=frame,
    )
