import torch
from hypothesis import settings

# The same examples in every run, so that a failure is the change's; `explore` looks for new ones.
settings.register_profile("skperco", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("explore", deadline=None, print_blob=True, max_examples=1000)
settings.load_profile("skperco")


def pytest_configure():
    # What the tests compute is small: more threads would only wait for each other.
    torch.set_num_threads(1)


def pytest_terminal_summary(terminalreporter):
    """Say how many of scikit-learn's own checks each student has passed."""
    passed = [
        report.nodeid
        for report in terminalreporter.stats.get("passed", [])
        if "test_scikit_learn_checks" in report.nodeid and report.when == "call"
    ]
    if passed:
        n_mlp = sum("student='mlp'" in name for name in passed)
        terminalreporter.write_line(
            f"scikit-learn's estimator checks passed: {len(passed) - n_mlp} for the linear "
            f"student, {n_mlp} for the MLP"
        )
