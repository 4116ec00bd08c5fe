import json

import pytest

from bit_keras.recipes.hyperrule import hyperrule

# Any size and dataset that the test at hand does not vary.
SMALL_IMAGE = (32, 32)


@pytest.fixture(scope="module")
def official(request):
    """What google-research/big_transfer's bit_hyperrule.py returned."""
    shared = request.getfixturevalue("shared")
    path = shared / "fixtures" / "hyperrule.json"
    return json.loads(path.read_text())


def assert_same_rate(got, expected):
    if expected is None:
        assert got is None
    else:
        assert got == pytest.approx(expected, rel=1e-12, abs=0)


def test_released_learning_rates_equal_the_official_code(official):
    checked = 0
    for num_examples, rates in official["lr"].items():
        rule = hyperrule(int(num_examples), SMALL_IMAGE)
        for step, expected in rates:
            assert_same_rate(rule.learning_rate(step), expected)
            checked += 1
    assert checked == 501 + 234 + 434


def test_released_learning_rates_at_other_base_rates(official):
    assert len(official["lr_other_base"]) == 66
    for num_examples, step, base, expected in official["lr_other_base"]:
        rule = hyperrule(num_examples, SMALL_IMAGE, base_learning_rate=base)
        assert_same_rate(rule.learning_rate(step), expected)


def test_released_schedules_and_mixup_equal_the_official_code(official):
    for num_examples, supports in official["schedule"].items():
        rule = hyperrule(int(num_examples), SMALL_IMAGE)
        got = [rule.warmup_steps, *rule.boundaries, rule.steps]
        assert got == supports, num_examples
    for num_examples, alpha in official["mixup_alpha"].items():
        rule = hyperrule(int(num_examples), SMALL_IMAGE)
        assert rule.mixup_alpha == alpha, num_examples


def test_released_resolutions_equal_the_official_code(official):
    for image_size, expected in official["resolution"]:
        rule = hyperrule(1000, tuple(image_size))
        assert [rule.resize, rule.crop] == expected, image_size


@pytest.mark.parametrize(
    "num_examples, steps, drops, mixup_alpha",
    [
        (19_999, 500, (150, 300, 450), 0.0),
        (20_000, 10_000, (3000, 6000, 9000), 0.1),
        (499_999, 10_000, (3000, 6000, 9000), 0.1),
        (500_000, 20_000, (6000, 12_000, 18_000), 0.1),
    ],
)
def test_paper_drops_at_30_60_90_percent_without_warmup(
    num_examples, steps, drops, mixup_alpha
):
    rule = hyperrule(num_examples, SMALL_IMAGE, variant="paper")
    assert rule.steps == steps
    assert rule.boundaries == rule.drop_steps == drops
    assert rule.warmup_steps == 0
    assert rule.mixup_alpha == mixup_alpha
    assert rule.learning_rate(0) == 0.003
    for count, step in enumerate(drops):
        before, at = rule.learning_rate(step - 1), rule.learning_rate(step)
        assert before == pytest.approx(0.003 / 10**count, rel=1e-12)
        assert at == pytest.approx(0.003 / 10 ** (count + 1), rel=1e-12)
    assert rule.learning_rate(steps - 1) is not None
    assert rule.learning_rate(steps) is None


@pytest.mark.parametrize(
    "image_size, model_name, expected",
    [
        ((95, 96), "bit_r50x1", (160, 128)),
        ((95, 96), "bit_r152x4", (160, 128)),
        ((96, 96), "bit_r50x1", (448, 384)),
        ((96, 96), None, (448, 384)),
        ((96, 96), "bit_r152x2", (448, 384)),
        ((96, 96), "bit_r152x4", (512, 480)),
    ],
)
def test_paper_resolutions(image_size, model_name, expected):
    rule = hyperrule(1000, image_size, "paper", model_name=model_name)
    assert (rule.resize, rule.crop) == expected


def test_scaled_keeps_proportions():
    rule = hyperrule(50_000, SMALL_IMAGE)
    assert rule.scaled(rule.steps) == rule
    short = rule.scaled(200)
    assert short.steps == 200
    assert short.warmup_steps == 10
    assert short.boundaries == (60, 120, 180)
    # The released delay of one step is not scaled away.
    assert short.drop_steps == (61, 121, 181)


def test_errors_name_the_argument_and_the_repair():
    with pytest.raises(ValueError, match='variant .* Did you mean "paper"'):
        hyperrule(1000, SMALL_IMAGE, variant="papr")
    with pytest.raises(ValueError, match="num_examples must be >= 1; got 0"):
        hyperrule(0, SMALL_IMAGE)
    with pytest.raises(ValueError, match=r"image_size .* got \(0, 32\)"):
        hyperrule(1000, (0, 32))
    with pytest.raises(ValueError, match="steps must be >= 1; got 0"):
        hyperrule(1000, SMALL_IMAGE).scaled(0)
