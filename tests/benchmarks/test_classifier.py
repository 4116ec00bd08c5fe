import numpy as np
import pytest

from bit_keras.benchmarks import classifier, probe

GRID = 2.0 ** np.arange(-10, 20)


def fitted(train=80, width=100, classes=7, spread=3.0, seed=0):
    """A classifier, and 900 test images of which many are hard."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((classes, width))

    def draw(count):
        labels = np.arange(count) % classes
        x = centres[labels] + spread * rng.standard_normal((count, width))
        return x.astype(np.float32), labels

    fit = probe.fit_dual(*draw(train), classes, GRID)
    return fit, *draw(900)


def all_of_it(fit, x, labels):
    """Counts by all scores, without the bound."""
    return (fit.scores(x).argmax(axis=2) == labels[:, None]).sum(axis=0)


@pytest.mark.parametrize("shares", [classifier._SHARES, (0.1, 0.3)], ids=str)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("train, width", [(80, 100), (14, 800), (30, 40)])
def test_parts_decide_as_the_whole_does(
    monkeypatch, train, width, seed, shares
):
    monkeypatch.setattr(classifier, "_SHARES", shares)
    fit, x, labels = fitted(train, width, seed=seed)
    expected = all_of_it(fit, x, labels)
    assert 200 < expected.max() < 900
    # Rounding differs with the number of rows multiplied at a time.
    assert abs(fit.correct(x, labels) - expected).max() <= 1


def test_parts_are_looked_at_and_leave_some_images_open(monkeypatch):
    fit, x, labels = fitted()
    seen = []
    hits = classifier.Classifier._hits
    monkeypatch.setattr(
        classifier.Classifier,
        "_hits",
        lambda self, nodes, labels: (
            seen.append(nodes.shape[:2]) or hits(self, nodes, labels)
        ),
    )
    fit.correct(x, labels)
    rows, p = zip(*seen, strict=True)
    assert rows[0] == 900 > rows[1] > rows[2] > 0
    assert p == (*(int(np.ceil(s * p[2])) for s in (0.54, 0.72)), p[2])
    assert p[2] == fit.mix.shape[1]


def test_the_bound_is_needed(monkeypatch):
    """The first part alone gives other counts: the test above can fail."""
    fit, x, labels = fitted()
    monkeypatch.setattr(classifier, "_SHARES", (0.1, 0.3))
    monkeypatch.setattr(
        classifier.Classifier, "_lengths", lambda self, x: np.zeros(len(x))
    )
    assert abs(fit.correct(x, labels) - all_of_it(fit, x, labels)).max() > 5


@pytest.mark.parametrize("basis", [False, True])
def test_no_score_moves_further_than_the_bound(basis):
    fit, x, _ = fitted(14, 800) if basis else fitted()
    assert (fit.basis is not None) == basis
    projected = fit._projected(x)
    lengths, whole = fit._lengths(projected), fit.scores(x)
    for part, missing in list(fit._parts())[:-1]:
        some = fit._mixed(fit._nodes(projected, slice(0, part.stop)))
        moved = abs(whole - some)
        bound = lengths[:, None, None] * missing
        assert (moved <= bound * 1.0001 + 1e-5).all()
        # Nor is the bound so wide that nothing would be decided.
        assert (moved > bound / 30).any()


def test_of_equal_scores_the_first_class_wins():
    """All training images are equal, so all scores are."""
    x, labels = np.ones((4, 3), np.float32), np.array([0, 0, 1, 1])
    fit = probe.fit_dual(x, labels, 2, GRID)
    assert fit.correct(x, labels).tolist() == [2] * 30


def test_one_class_always_wins():
    x = np.eye(3, 8, dtype=np.float32)
    fit = probe.fit_dual(x, np.zeros(3, int), 1, GRID)
    assert fit.correct(x, np.zeros(3, int)).tolist() == [3] * 30


def test_unequal_classes_are_decided_with_their_bias():
    fit, x, labels = fitted()
    rare = labels // 6  # class 0 has six times as many images
    fit = probe.fit_dual(x[:80], rare[:80], 2, GRID)
    assert np.ptp(fit.bias, axis=1).all()
    expected = all_of_it(fit, x, rare)
    assert abs(fit.correct(x, rare) - expected).max() <= 1
