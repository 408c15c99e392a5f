"""Runs the suite of the simulated accelerator, which changes the process that it runs in."""

import pytest
from device.accelerator import compiler


@pytest.mark.skipif(compiler() is None, reason="there is no C++ compiler to build a device with")
def test_everything_runs_on_a_simulated_accelerator(device_suite):
    output, _ = device_suite.communicate()
    print(output)
    assert device_suite.returncode == 0, output.splitlines()[-1]
