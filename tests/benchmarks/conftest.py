import sys
from pathlib import Path

# The benchmarks are scripts, which find their own folder as they run.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
