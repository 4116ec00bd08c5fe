"""How good it is: benchmarks over exported backbones."""
