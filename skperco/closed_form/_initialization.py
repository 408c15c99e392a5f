"""Initializations of students in closed form: truncated SVD, of rows or of ridge predictions."""

import numpy as np

from skperco.closed_form._ridge import Ridge
from skperco.closed_form._truncated_svd import (
    LinearMap,
    leading_directions,
    squared_norms,
    unit_norm_rows,
)
from skperco.dissimilarity._dense import ANGULAR_METRICS
from skperco.utils._chunking import MappedRows

# Ridge strengths to choose from, in units of the mean squared norm of the rows, and the one to
# take unchosen.
_ALPHAS = (3.2, 1.6, 0.8, 0.4, 0.2, 0.1, 0.05, 0.01, 0.001)
_ALPHA = 0.4
# Value of the constant column: for angles, whose origin matters, the intercept is penalized like
# the other coefficients; otherwise it is nearly free.
_INTERCEPT = 0.3
_FREE_INTERCEPT = 10.0
_JUDGED_TARGETS = 64
_FOLDS = 3
# Weight of the true targets relative to their predictions in the pseudo-teacher.
_TARGETS_BESIDE_PREDICTIONS = 0.7


def compression_start(X, n_components, *, metric, sample_weight, random_state):
    """Top right singular vectors of X, which is its own teacher.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    n_components : int
        At most n_features.
    metric : str or callable
        The student's dissimilarity. Angles are measured from the origin, so centering, as in PCA,
        would change them; other dissimilarities do not depend on it.
    sample_weight : ndarray of shape (n_samples,)
    random_state : RandomState

    Returns
    -------
    start : LinearMap
    """
    angular = metric in ANGULAR_METRICS
    if angular:
        norms = squared_norms(X)
        sample_weight = np.divide(sample_weight, norms, out=np.zeros_like(norms), where=norms > 0)
    return leading_directions(
        X, n_components, center=not angular, sample_weight=sample_weight, random_state=random_state
    )


def compression_is_exact(X, n_components, metric, teacher_metric):
    """Whether :func:`compression_start` is a rotation, under which no dissimilarity changes."""
    pair = {metric, teacher_metric}
    is_invariant = pair == {"cosine"} or pair <= {"euclidean", "sqeuclidean"}
    return is_invariant and n_components == X.shape[1]


class Transfer:
    """Ridge regression of the teacher's coordinates on X, and its leading directions.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    targets : ndarray or MappedRows of shape (n_samples, n_targets)
        As from :func:`teacher_coordinates`.
    n_components : int
        At most min(n_features, n_targets).
    metric : str or callable
        The student's dissimilarity.
    sample_weight : ndarray of shape (n_samples,)
    random_state : RandomState
    alpha : float, default=None
        Ridge strength.
    worth : callable, default=None
        What held-out rows say of a LinearMap: without `alpha`, the strength with the largest
        worth is taken. Without either, a fixed one.

    Attributes
    ----------
    alpha : float
    directions : LinearMap
        From the targets to the components.
    """

    def __init__(
        self,
        X,
        targets,
        n_components,
        *,
        metric,
        sample_weight,
        random_state,
        alpha=None,
        worth=None,
    ):
        self.angular = metric in ANGULAR_METRICS
        self.random_state = random_state
        self.targets = targets
        self.ridge = self._ridge(X, sample_weight)
        self.alpha = _ALPHA if alpha is None else alpha
        if alpha is None and worth is not None:
            self.alpha = self._best_alpha(metric, n_components, sample_weight, worth)
        self.directions = leading_directions(
            self.ridge.predict(X, targets, self.alpha),
            n_components,
            center=not self.angular,
            sample_weight=sample_weight,
            random_state=random_state,
        )

    def through(self, directions):
        """Compose the ridge regression with a projection of its targets; a LinearMap.

        Regressing X on the projected targets gives the same map with fewer outputs; only the bias
        has to be added.
        """
        project = LinearMap(directions.weight, 0)
        weight, bias = self.ridge.fit(_through(self.targets, project), self.alpha)
        return LinearMap(weight, bias + directions.bias)

    def cross_predictions(self, X, targets, sample_weight):
        """Out-of-fold predictions of the rows, and a pseudo-teacher.

        The pseudo-teacher concatenates the predictions and down-weighted targets, so that
        predictable directions dominate.

        Returns
        -------
        predictions : ndarray of shape (n_rows, n_targets), float32
        teacher : ndarray of shape (n_rows, 2 * n_targets), float32
        metric : str
            The teacher's.
        """
        n_rows = X.shape[0]
        predictions = np.empty(targets.shape, dtype=np.float32)
        for fold in np.array_split(self.random_state.permutation(n_rows), _FOLDS):
            others = np.setdiff1d(np.arange(n_rows), fold)
            seen = self._ridge(X[others], sample_weight[others])
            predictions[fold] = seen.predict(X[fold], targets[others], self.alpha)[:]
        known = unit_norm_rows(predictions) if self.angular else predictions
        teacher = np.hstack(
            [known, np.float32(_TARGETS_BESIDE_PREDICTIONS) * targets], dtype=np.float32
        )
        return predictions, teacher, "cosine" if self.angular else "euclidean"

    def _ridge(self, X, sample_weight):
        intercept = _INTERCEPT if self.angular else _FREE_INTERCEPT
        return Ridge(X, intercept=intercept, sample_weight=sample_weight)

    def _best_alpha(self, metric, n_components, sample_weight, worth):
        targets = self.targets
        # The top singular vectors of the targets give the same choice as all targets, at less cost.
        # A callable may accept only as many columns as the student has.
        n_targets = n_components if callable(metric) else min(_JUDGED_TARGETS, targets.shape[1])
        project = leading_directions(
            targets,
            n_targets,
            center=False,
            sample_weight=sample_weight,
            random_state=self.random_state,
        )
        regressions = self.ridge.path(_through(targets, project), _ALPHAS)
        worths = dict(zip(_ALPHAS, map(worth, regressions), strict=True))
        return max(worths, key=worths.get)


def _through(rows, linear_map):
    return MappedRows(rows, linear_map, len(linear_map.weight))
