"""What the tests of the campaign use: its own modules, and a browser."""

import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).parent
# As when the campaign is run as a command.
sys.path.insert(0, str(HERE))

_spec = importlib.util.spec_from_file_location(
    "benchmarks_conftest", HERE.parent / "benchmarks" / "conftest.py"
)
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
browse = _module.browse
