import json

from bit_keras.benchmarks.speed import saturation as speed


def test_both_ways_find_the_same_optimum(tmp_path, capsys):
    path = tmp_path / "figures.json"
    assert speed.main(["--quick", "--json", str(path)]) == 0
    figures = json.loads(path.read_text())
    assert figures["refits"] == 100
    assert figures["largest relative difference of the loss"] < 1e-8
    assert figures["ratio"] > 0
    assert "hull of scattered models, seconds" in capsys.readouterr().out
