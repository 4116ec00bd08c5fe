import json

from bit_keras.benchmarks.speed import fewshot as speed


def test_both_ways_measure_the_same(tmp_path, capsys):
    path = tmp_path / "figures.json"
    assert speed.main(["--quick", "--json", str(path)]) == 0
    figures = json.loads(path.read_text())
    # 4 shots, 2 seeds, 30 penalties.
    assert figures["fits (shots x seeds x l2)"] == 240
    assert 0.2 < figures["mean accuracy"] < 0.95
    # float32 alone moves a few test images of 500 at the smallest penalties.
    assert figures["largest difference of accuracy, l2 >= 1"] < 0.005
    assert figures["largest difference of accuracy"] <= 0.02
    assert figures["ratio"] > 0
    printed = capsys.readouterr().out
    assert "linear_probe, seconds" in printed
