"""Checks of scikit-learn for each public estimator and each value of its categorical parameters."""

import inspect

from builders import METRIC_NAMES
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.estimator_checks import parametrize_with_checks

import skperco
from skperco import CoherenceDistiller, CoherenceQuantizer

ESTIMATORS = [
    value
    for value in map(vars(skperco).get, skperco.__all__)
    if inspect.isclass(value) and issubclass(value, BaseEstimator)
]
CODED_METRICS = ["cosine", "euclidean", "sqeuclidean"]
QUICK = {
    "CoherenceDistiller": {"max_iter": 2, "hidden_layer_sizes": (4,)},
    # The checks have as few as one feature, and n_bytes may not exceed what float32 takes.
    "CoherenceQuantizer": {"n_bytes": 1},
}


def choices(estimator, name):
    """All values of a categorical or Boolean parameter; none for other parameters."""
    if name in ("metric", "teacher_metric"):
        is_quantizer = isinstance(estimator, CoherenceQuantizer) and name == "metric"
        return CODED_METRICS if is_quantizer else METRIC_NAMES
    values = []
    for constraint in estimator._parameter_constraints[name]:
        if isinstance(constraint, StrOptions):
            values += sorted(constraint.options)
        elif constraint in ("boolean", "verbose"):
            values += [False, True]
    return values


def variants():
    """Each estimator with its defaults, and with one categorical parameter changed at a time."""
    for estimator in ESTIMATORS:
        quick = QUICK[estimator.__name__]
        yield estimator(**quick) if "n_bytes" in quick else estimator()
        for name, default in estimator().get_params().items():
            for value in choices(estimator(), name):
                if value != default:
                    yield estimator(**quick, **{name: value})


@parametrize_with_checks(list(variants()))
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_every_parameter_with_few_values_is_found():
    distiller, quantizer = CoherenceDistiller(), CoherenceQuantizer()
    found = {name for name in distiller.get_params() if choices(distiller, name)}
    assert {"student", "metric", "teacher_metric", "early_stopping", "warm_start"} <= found
    found = {name for name in quantizer.get_params() if choices(quantizer, name)}
    assert found == {"method", "metric", "teacher_metric", "verbose"}
    assert [CoherenceDistiller, CoherenceQuantizer] == ESTIMATORS
