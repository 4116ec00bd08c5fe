"""How good it is: benchmarks over exported backbones (not part of 0.1)."""
