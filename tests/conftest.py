import torch
from hypothesis import settings

settings.register_profile("skperco", deadline=None, print_blob=True)
settings.load_profile("skperco")


def pytest_configure():
    # Two threads a process: what the smallest machine has, so that timings and sums agree.
    torch.set_num_threads(min(2, torch.get_num_threads()))
