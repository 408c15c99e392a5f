"""Initializations of students in closed form: truncated SVD, of rows or of ridge predictions."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from skperco.closed_form._ridge import Ridge
from skperco.closed_form._truncated_svd import (
    LinearMap,
    squared_norms,
    top_singular_vectors,
    unit_norm_rows,
)
from skperco.dissimilarity._dense import ANGULAR_METRICS
from skperco.utils._chunking import AnyRows, MappedRows
from skperco.utils._types import Metric, Rows

# Default ridge strengths, in units of the mean squared norm of the rows.
ALPHAS = (3.2, 1.6, 0.8, 0.4, 0.2, 0.1, 0.05, 0.01, 0.001)
# Strength without validation.
_ALPHA = 0.4
# Value of the constant column: a larger value shrinks the intercept less. Angular metrics depend on
# the origin, so the intercept is penalized; for other metrics it is nearly free of the penalty.
_INTERCEPT = 0.3
_FREE_INTERCEPT = 10.0
# Number of the targets' singular vectors in the choice of a strength.
_VALIDATION_TARGETS = 64
_FOLDS = 3
# Weight of the true targets relative to their predictions in the pseudo-teacher.
_TARGET_WEIGHT = 0.7


def compression_start(
    X: Rows,
    n_components: int,
    *,
    metric: Metric,
    sample_weight: NDArray,
    random_state: np.random.RandomState,
) -> LinearMap:
    """Top right singular vectors of X, which is its own teacher.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    n_components : int
        At most n_features.
    metric : str or callable
        The student's dissimilarity. For angular metrics the rows are weighted as if scaled to unit
        norm, and not centered, which would change the angles; for other metrics they are centered,
        as in PCA.
    sample_weight : ndarray of shape (n_samples,)
    random_state : RandomState

    Returns
    -------
    start : LinearMap
    """
    angular = metric in ANGULAR_METRICS
    if angular:
        # Equivalent to scaling the rows to unit norm, without a copy of X.
        norms = squared_norms(X)
        sample_weight = np.divide(sample_weight, norms, out=np.zeros_like(norms), where=norms > 0)
    return top_singular_vectors(
        X, n_components, center=not angular, sample_weight=sample_weight, random_state=random_state
    )


def compression_is_exact(
    X: Rows, n_components: int, metric: Metric, teacher_metric: Metric
) -> bool:
    """Whether :func:`compression_start` is a rotation, under which no dissimilarity changes."""
    pair = {metric, teacher_metric}
    is_invariant = pair == {"cosine"} or pair <= {"euclidean", "sqeuclidean"}
    return is_invariant and n_components == X.shape[1]


class ReducedRankRidge:
    """Reduced-rank ridge regression of the teacher's coordinates on X.

    The predictions of a ridge regression are projected on their top right singular vectors
    (Mukherjee and Zhu, 2011).

    Parameters
    ----------
    n_components : int
        At most min(n_features, n_targets).
    metric : str or callable
        The student's dissimilarity.
    random_state : RandomState
    alphas : sequence of float
        Ridge strengths to choose from, in units of the mean squared norm of the rows.
    criterion : callable, default=None
        Validation score of a LinearMap from X to coordinates of the teacher: the strength with the
        largest score is chosen. Without it, the strength nearest to 0.4 is.

    Attributes
    ----------
    alpha_ : float
        The chosen strength.
    directions_ : LinearMap
        Projection of the targets to the components.
    """

    def __init__(
        self,
        n_components: int,
        *,
        metric: Metric,
        random_state: np.random.RandomState,
        alphas: Sequence[float] = ALPHAS,
        criterion: Callable[[LinearMap], float] | None = None,
    ):
        self.n_components = n_components
        self.metric = metric
        self.random_state = random_state
        self.alphas = alphas
        self.criterion = criterion

    def fit(self, X: Rows, targets: AnyRows, sample_weight: NDArray) -> "ReducedRankRidge":
        """Fit the regression and the projection.

        Parameters
        ----------
        X : ndarray or CSR of shape (n_samples, n_features)
        targets : ndarray or MappedRows of shape (n_samples, n_targets)
            As from :func:`teacher_coordinates`.
        sample_weight : ndarray of shape (n_samples,)

        Returns
        -------
        self : ReducedRankRidge
        """
        self.angular_ = self.metric in ANGULAR_METRICS
        self.targets_ = targets
        self.ridge_ = self._ridge(X, sample_weight)
        self.alpha_ = self._choose_alpha(sample_weight)
        self.directions_ = top_singular_vectors(
            self.ridge_.predict(X, targets, self.alpha_),
            self.n_components,
            center=not self.angular_,
            sample_weight=sample_weight,
            random_state=self.random_state,
        )
        return self

    def compose(self, directions: LinearMap) -> LinearMap:
        """Compose the ridge regression with a projection of its targets.

        Regressing the projected targets on X gives the same map with fewer outputs; only the bias
        has to be added.
        """
        project = LinearMap(directions.weight, np.zeros(self.n_components))
        weight, bias = self.ridge_.fit(project.lazily(self.targets_), self.alpha_)
        return LinearMap(weight, bias + directions.bias)

    def cross_predictions(
        self, X: Rows, targets: NDArray, sample_weight: NDArray
    ) -> tuple[NDArray, NDArray, str]:
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
            ridge = self._ridge(X[others], sample_weight[others])
            predictions[fold] = ridge.predict(X[fold], targets[others], self.alpha_)[:]
        known = unit_norm_rows(predictions) if self.angular_ else predictions
        teacher = np.hstack([known, np.float32(_TARGET_WEIGHT) * targets], dtype=np.float32)
        return predictions, teacher, "cosine" if self.angular_ else "euclidean"

    def _ridge(self, X: Rows, sample_weight: NDArray) -> Ridge:
        intercept = _INTERCEPT if self.angular_ else _FREE_INTERCEPT
        return Ridge(X, intercept=intercept, sample_weight=sample_weight)

    def _choose_alpha(self, sample_weight: NDArray) -> float:
        # From strong to weak: each solution of the path starts from the one before.
        alphas = sorted(map(float, self.alphas), reverse=True)
        if self.criterion is None:
            return min(alphas, key=lambda alpha: abs(np.log(alpha / _ALPHA)))
        if len(alphas) == 1:
            return alphas[0]
        regressions = self.ridge_.path(self._projected_targets(sample_weight), alphas)
        scores = map(self.criterion, regressions)
        score_of = dict(zip(alphas, scores, strict=True))
        return max(score_of, key=score_of.__getitem__)

    def _projected_targets(self, sample_weight: NDArray) -> MappedRows:
        """Targets projected on their top singular vectors: the same choice at less cost."""
        targets = self.targets_
        # A callable may accept only as many columns as the student has.
        n_targets = (
            self.n_components
            if callable(self.metric)
            else min(_VALIDATION_TARGETS, targets.shape[1])
        )
        directions = top_singular_vectors(
            targets,
            n_targets,
            center=False,
            sample_weight=sample_weight,
            random_state=self.random_state,
        )
        return directions.lazily(targets)
