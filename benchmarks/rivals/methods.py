"""Methods of dimensionality reduction and transfer: common ones, and those of skperco."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import normalize
from sklearn.random_projection import GaussianRandomProjection

from rivals import losses
from rivals.cases import Rows
from rivals.training import Schedule, tune_and_train, unit_rows
from skperco import CoherenceDistiller

_ALPHAS = np.logspace(-2, 2, 9)
_MLP_UNITS = 256


class Task(NamedTuple):
    """The training rows of a method, and the parameters that all methods share."""

    rows: Rows
    compression: bool
    metric: str
    n_components: int
    seed: int
    steps: int

    @property
    def targets(self):
        """The teacher's rows to regress on, of unit norm under cosine."""
        return normalize(self.rows.teacher) if self.metric == "cosine" else self.rows.teacher


class Method(NamedTuple):
    """A method: `fit` takes a Task and returns a function that embeds rows."""

    title: str
    family: str
    fit: Callable
    # Whether another seed gives another fit.
    seeded: bool = True
    # Whether X must differ from the teacher's embeddings, or must equal them.
    transfer_only: bool = False
    compression_only: bool = False

    def suits(self, compression):
        return not (self.transfer_only if compression else self.compression_only)


def _truncation(task):
    return lambda X: X[:, : task.n_components]


def _projection(estimator, task):
    projection = estimator(task.n_components, random_state=task.seed)
    return projection.fit(task.rows.X).transform


def _umap(task):
    from umap import UMAP  # optional, and takes seconds to import

    reducer = UMAP(n_components=task.n_components, metric=task.metric, random_state=task.seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_jobs value")
        reducer.fit(_as_matrix(task.rows.X))
    return lambda X: reducer.transform(_as_matrix(X))


def _as_matrix(X):
    """Sparse rows as a matrix: UMAP does not accept SciPy's sparse arrays."""
    return sp.csr_matrix(X) if sp.issparse(X) else X


def _ridge(task, alphas=_ALPHAS):
    """Ridge regression onto all dimensions of the teacher; leave-one-out chooses alpha."""
    return RidgeCV(alphas).fit(task.rows.X, task.targets).predict


def reduced_ridge(task, alphas=_ALPHAS):
    """Top singular vectors or principal components of the predictions of a ridge regression."""
    predict = _ridge(task, alphas)
    reduction = _reduction(task, predict(task.rows.X))
    return lambda X: reduction.transform(predict(X))


def _mlp(task):
    """A network that predicts the reduced teacher from the rows."""
    targets = _reduction(task, task.targets).transform(task.targets)
    network = MLPRegressor(
        hidden_layer_sizes=(_MLP_UNITS,), early_stopping=True, random_state=task.seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return network.fit(task.rows.X, targets / targets.std()).predict


def _reduction(task, rows):
    """Linear dimensionality reduction of the rows, centered unless the metric is cosine."""
    estimator = TruncatedSVD if task.metric == "cosine" else PCA
    return estimator(task.n_components, random_state=0).fit(rows)


def _trained(new_loss, task):
    """The distiller's initialization, trained with another loss.

    A batch has as many rows as the distiller draws references.
    """
    schedule = Schedule(task.steps, CoherenceDistiller().n_references, task.seed)
    initialize = partial(_initialize, task)
    return tune_and_train(task.rows, initialize, partial(new_loss, task.metric), schedule)


def _initialize(task, rows):
    """The distiller with max_iter=0."""
    return CoherenceDistiller(**_common(task), max_iter=0).fit(*_pair(task._replace(rows=rows)))


def relation(loss, metric, _embeddings, _teacher):
    """A loss of relations between the rows of a batch, normalized first under cosine."""
    if metric != "cosine":
        return loss
    return lambda student, teacher: loss(unit_rows(student), teacher)


def _regression(error, _metric, embeddings, teacher):
    return losses.Regression(error, embeddings, teacher)


def _distiller(task, **options):
    return (
        CoherenceDistiller(**_common(task), max_iter=task.steps, **options)
        .fit(*_pair(task))
        .transform
    )


def _common(task):
    """Parameters of the distiller that do not depend on the loss."""
    return {
        "n_components": task.n_components,
        "metric": task.metric,
        "random_state": task.seed,
        "device": torch.device("cpu"),
    }


def _pair(task):
    return task.rows.X, None if task.compression else task.rows.teacher


CLOSED, LEARNED, LOSS, SKPERCO = "closed form", "learned", "loss, same student", "skperco"


def _loss_method(title, new_loss):
    return Method(title, LOSS, partial(_trained, new_loss))


METHODS = {
    "truncation": Method("truncation", CLOSED, _truncation, seeded=False, compression_only=True),
    "random-projection": Method(
        "GaussianRandomProjection", CLOSED, partial(_projection, GaussianRandomProjection)
    ),
    "pca": Method("PCA", CLOSED, partial(_projection, PCA), seeded=False),
    "svd": Method("TruncatedSVD", CLOSED, partial(_projection, TruncatedSVD), seeded=False),
    "ridge": Method("ridge, all dimensions", CLOSED, _ridge, seeded=False, transfer_only=True),
    "ridge-svd": Method(
        "ridge + SVD or PCA", CLOSED, reduced_ridge, seeded=False, transfer_only=True
    ),
    "mlp": Method("MLPRegressor", LEARNED, _mlp),
    "umap": Method("UMAP", LEARNED, _umap),
    "mse": _loss_method("MSE regression", partial(_regression, losses.squared_error)),
    "cosine": _loss_method("cosine regression", partial(_regression, losses.cosine_error)),
    "rkd-distance": _loss_method("RKD distance", partial(relation, losses.rkd_distance)),
    "rkd-angle": _loss_method("RKD angle", partial(relation, losses.rkd_angle)),
    "pkt": _loss_method("PKT", partial(relation, losses.pkt)),
    "sp": _loss_method("SP", partial(relation, losses.similarity_preserving)),
    "softmax": _loss_method("softmax-similarity KL", partial(relation, losses.softmax_similarity)),
    "pairwise": _loss_method("pairwise similarity", partial(relation, losses.pairwise_similarity)),
    "distiller": Method("CoherenceDistiller", SKPERCO, _distiller),
    "distiller-local": Method(
        "CoherenceDistiller, rank_power=0", SKPERCO, partial(_distiller, rank_power=0.0)
    ),
    "distiller-global": Method(
        "CoherenceDistiller, rank_power=1", SKPERCO, partial(_distiller, rank_power=1.0)
    ),
}
DEFAULT = "distiller"
