import torch
from hypothesis import settings

# The same examples in every run, so that a failure is the change's; `explore` looks for new ones.
settings.register_profile("skperco", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("explore", deadline=None, print_blob=True, max_examples=1000)
settings.load_profile("skperco")


def pytest_configure():
    # Two threads a process: what the smallest machine has, so that timings and sums agree.
    torch.set_num_threads(min(2, torch.get_num_threads()))
