"""Scores that others have published, to stand beside measured ones."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class VtabScore:
    """One published result on VTAB-1k, in percent.

    Attributes:
        model: Network and its pre-training.
        protocol: How it was fine-tuned.
        score: Mean over the 19 tasks.
        spread: Standard deviation of the score over runs, if published.
        natural: Mean over the 7 natural tasks, if published.
        specialized: Mean over the 4 specialized tasks, if published.
        structured: Mean over the 8 structured tasks, if published.
        source: Where it was published.
    """

    model: str
    protocol: str
    score: float
    spread: float | None = None
    natural: float | None = None
    specialized: float | None = None
    structured: float | None = None
    source: str


# BiT: Kolesnikov et al., arXiv 1912.11370.  The README reports later runs of
# the released code, above the paper's own for the same network.
_PAPER = "arXiv 1912.11370"
_README = "README of google-research/big_transfer"
# One setting of four, chosen for each task; ResNet-50 v2 on ILSVRC-2012.
_LEADERBOARD = "VTAB leaderboard (google-research/task_adaptation)"

# fmt: off
VTAB = (
    VtabScore(model="BiT-L R152x4", protocol="HyperRule",
              score=76.29, spread=1.70, source=f"{_PAPER}, Table 1"),
    VtabScore(model="BiT-L R152x4", protocol="40 random trials per task",
              score=78.72, source=f"{_PAPER}, App. A"),
    VtabScore(model="BiT-M R152x4", protocol="HyperRule",
              score=70.64, source=f"{_PAPER}, Table 2"),
    VtabScore(model="BiT-M R152x4", protocol="HyperRule",
              score=73.51, natural=80.77, specialized=85.67, structured=61.08,
              source=_README),
    VtabScore(model="BiT-M R101x3", protocol="HyperRule",
              score=72.65, natural=80.29, specialized=85.75, structured=59.40,
              source=_README),
    VtabScore(model="BiT-S R152x4", protocol="HyperRule",
              score=66.87, source=f"{_PAPER}, Table 2"),
    VtabScore(model="Sup-100% ResNet50", protocol="sweep of 4",
              score=66.4, natural=73.5, specialized=82.5, structured=52.1,
              source=_LEADERBOARD),
)
# fmt: on
