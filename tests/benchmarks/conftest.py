import sys
from pathlib import Path

# Python puts the folder of a script on the path.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
