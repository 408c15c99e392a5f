"""The methods: what people use to make embeddings small, and what skperco offers."""

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
from rivals.training import ClosedForm, Schedule, train, unit_rows
from skperco import CoherenceDistiller

_RIDGE_STRENGTHS = np.logspace(-2, 2, 9)
_MLP_UNITS = 256


class Task(NamedTuple):
    """What a method has to do: fit on these rows, so that n_components dimensions are left."""

    rows: Rows
    compression: bool
    metric: str
    n_components: int
    seed: int
    steps: int

    @property
    def targets(self):
        """The teacher's rows to regress on: of unit norm under cosine, which sees no other."""
        return normalize(self.rows.teacher) if self.metric == "cosine" else self.rows.teacher


class Method(NamedTuple):
    """A way to fit a task: from a Task to a function that embeds rows."""

    title: str
    family: str
    fit: Callable
    # Whether another seed gives another fit.
    seeded: bool = True
    # Only for the transfer from another input, and only where the input is the teacher's space.
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
    from umap import UMAP  # an optional extra, which takes seconds to import

    reducer = UMAP(n_components=task.n_components, metric=task.metric, random_state=task.seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_jobs value")
        reducer.fit(_as_matrix(task.rows.X))
    return lambda X: reducer.transform(_as_matrix(X))


def _as_matrix(X):
    """Sparse rows in the form that UMAP knows, which SciPy's arrays are not."""
    return sp.csr_matrix(X) if sp.issparse(X) else X


def _ridge(task, strengths=_RIDGE_STRENGTHS):
    """Regression onto all dimensions of the teacher, its strength by leave-one-out."""
    return RidgeCV(strengths).fit(task.rows.X, task.targets).predict


def ridge_directions(task, strengths=_RIDGE_STRENGTHS):
    """Leading directions of a ridge regression, its strength by leave-one-out."""
    predict = _ridge(task, strengths)
    directions = _teacher_directions(task, predict(task.rows.X))
    return lambda X: directions.transform(predict(X))


def _mlp(task):
    """A network that regresses the teacher's leading directions on the rows."""
    targets = _teacher_directions(task, task.targets).transform(task.targets)
    network = MLPRegressor(
        hidden_layer_sizes=(_MLP_UNITS,), early_stopping=True, random_state=task.seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return network.fit(task.rows.X, targets / targets.std()).predict


def _teacher_directions(task, rows):
    """Leading directions of the rows, seen from the origin under cosine, else from their mean."""
    estimator = TruncatedSVD if task.metric == "cosine" else PCA
    return estimator(task.n_components, random_state=0).fit(rows)


def _trained(new_loss, task):
    """The distiller's start, trained with a rival loss on batches as large as its references."""
    start = ClosedForm(**_common(task), max_iter=0).fit(*_pair(task))
    if not start.held_out_.X.shape[0]:
        raise ValueError("too few rows to hold some out, which choose the learning rate.")
    schedule = Schedule(task.steps, start.n_references, task.seed)
    return train(start, partial(new_loss, task.metric), schedule).transform


def relation(loss, metric, _images, _teacher):
    """A loss of relations between the rows of a batch, of unit norm under cosine."""
    if metric != "cosine":
        return loss
    return lambda student, teacher: loss(unit_rows(student), teacher)


def _regression(error, _metric, images, teacher):
    return losses.Regression(error, images, teacher)


def _distiller(task, **options):
    return (
        CoherenceDistiller(**_common(task), max_iter=task.steps, **options)
        .fit(*_pair(task))
        .transform
    )


def _common(task):
    """What the distiller and the rivals that start as it does have in common."""
    return {
        "n_components": task.n_components,
        "metric": task.metric,
        "random_state": task.seed,
        "device": torch.device("cpu"),
    }


def _pair(task):
    return task.rows.X, None if task.compression else task.rows.teacher


CLOSED, LEARNED, LOSS, OURS = "closed form", "learned", "loss, same student", "skperco"


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
        "ridge + leading directions", CLOSED, ridge_directions, seeded=False, transfer_only=True
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
    "distiller": Method("CoherenceDistiller", OURS, _distiller),
    "distiller-near": Method(
        "CoherenceDistiller, rank_power=0", OURS, partial(_distiller, rank_power=0.0)
    ),
    "distiller-far": Method(
        "CoherenceDistiller, rank_power=1", OURS, partial(_distiller, rank_power=1.0)
    ),
}
DEFAULT = "distiller"
