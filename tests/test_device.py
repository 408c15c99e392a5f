"""Runs the suite of the simulated accelerator, which changes the process that it runs in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from device.accelerator import compiler

FOLDER = Path(__file__).with_name("device")


@pytest.mark.skipif(compiler() is None, reason="there is no C++ compiler to build a device with")
def test_everything_runs_on_a_simulated_accelerator():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(FOLDER)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        command, cwd=FOLDER.parents[1], env=environment, capture_output=True, text=True, check=False
    )
    print(run.stdout[-10_000:], run.stderr[-2000:])
    assert run.returncode == 0, run.stdout.splitlines()[-1]
