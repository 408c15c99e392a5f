"""Codes on the device."""

import numpy as np
import pytest
import torch

from skperco import CoherenceQuantizer

METHODS = {"residual": 2, "product": 4, "scalar": 4, "int8": 4, "int4": 4, "binary": 1}


@pytest.mark.parametrize("method", METHODS)
def test_codes_of_the_device_are_those_of_the_cpu(device, rows, method):
    codes = []
    for where in ("cpu", device):
        quantizer = CoherenceQuantizer(
            METHODS[method], method=method, random_state=0, beam_width=2, device=where
        )
        codes.append(quantizer.fit(rows).encode(rows))
        assert all(buffer.device.type == "cpu" for buffer in quantizer.encoder_.buffers())
    assert (codes[0] == codes[1]).mean() > 0.95


def test_tensors_on_the_device_are_encoded(device, rows):
    X = torch.from_numpy(rows).to(device)
    quantizer = CoherenceQuantizer(4, method="int8", random_state=0).fit(X)
    np.testing.assert_array_equal(quantizer.encode(X), quantizer.encode(rows))
    assert quantizer.decode(torch.from_numpy(quantizer.encode(X)).to(device)).dtype == np.float32
