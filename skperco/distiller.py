"""CoherenceDistiller: validates, starts in closed form, refines by rank, transforms."""

import numbers

import numpy as np
import scipy.sparse as sp
import torch
from numpy.random import RandomState
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from skperco._validation import (
    check_device,
    check_embeddings,
    check_layer_sizes,
    check_magnitude,
    check_same_rows,
    check_sample_weight,
    naming,
)
from skperco.dissimilarity import check_metric
from skperco.fitting import Fit, Plan
from skperco.metrics import perception_coherence_score
from skperco.samples import Samples
from skperco.starts import teacher_coordinates
from skperco.students import embed
from skperco.training import Settings
from skperco.trials import FRACTIONS, Decision, decide

_DEFAULT_COMPONENTS = 64
_MOST_HELD_OUT = 1000
# Fewer rows cannot tell a better student from a worse one.
_LEAST_HELD_OUT = 20
_ROUNDS = 10


class CoherenceDistiller(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Learn a small embedding that keeps the order of a teacher's dissimilarities.

    The student, a linear map or a small MLP, starts as a closed form (the leading singular
    directions of the teacher's space, or ridge regression onto it) and is refined so that,
    seen from every sample, the others come in the order in which the teacher puts them. Rows
    that the fit has not seen decide how far it leaves the closed form.

    Parameters
    ----------
    n_components : int, default=None
        Number of dimensions of the student's embedding. If None, 64, or as many as there can
        be where that is fewer.
    student : {"linear", "mlp"}, default="linear"
        A linear map serves compression as well as an MLP does; the MLP, a correction to the
        linear map, is for inputs of another kind than the teacher's.
    metric : str or callable, default="cosine"
        Dissimilarity between the student's embeddings: "cosine", "euclidean", "sqeuclidean",
        "manhattan", "correlation", or a callable as in :func:`pairwise_dissimilarity`. With
        "cosine" the embeddings have unit norm, so that euclidean neighbours are the same.
    teacher_metric : str or callable, default=None
        Dissimilarity between the teacher's embeddings; `metric` if None. With "precomputed"
        the teacher is given as its (n_samples, n_samples) table of dissimilarities, whose row
        i holds what sample i sees.
    rank_power : float, default=0.5
        What to keep where not all can be kept, from 0 (who is among the nearest) to 1 (the
        order of all).
    hidden_layer_sizes : tuple of int, default=(256,)
        Units of each hidden layer of the MLP.
    batch_size : int, default=2048
        Number of anchors drawn for a step.
    n_references : int, default=512
        Number of references drawn for a step, from all over the data.
    n_neighbors : int, default=100
        Length of each anchor's list of nearest samples, from which a step draws its near
        references. At most a tenth of the rows is used.
    learning_rate_init : float, default=0.1
        Size of the first steps, relative to the size of the parameters; it decays to 0.
    max_iter : int, default=150
        Number of steps. 0 keeps the closed form.
    early_stopping : bool, default=True
        Whether to hold out rows from a first fit, which decide how far the student goes from
        the closed form towards the refined one; then all rows are fitted. With fewer than 20
        such rows it keeps the closed form. If False, there is one fit, and the student goes all
        the way, whatever that does to rows it has not seen.
    validation_fraction : float, default=0.1
        Share of the rows to hold out, up to 1,000 rows.
    random_state : int, RandomState instance or None, default=None
        Draws held-out rows, anchors and references. With an int, fits on the CPU are the same
        bit for bit.
    device : str or torch.device, default="auto"
        Where to compute: "cpu", "cuda", ..., or "auto" for a GPU if there is one.
    verbose : bool, default=False
        Whether to print the progress of the fit.

    Attributes
    ----------
    n_components_ : int
        Number of dimensions of the student's embedding.
    student_ : torch.nn.Module
        The fitted student, on the CPU, in float32.
    loss_curve_ : list of float
        Loss before each step.
    validation_scores_ : list of float or None
        Coherence of held-out rows, from the closed form (first) to the refined student (last)
        of a fit without them; None if there was no refinement or no row was held out.
    validation_fractions_ : list of float or None
        How far each entry of `validation_scores_` is on that way: 0 is the closed form, 1 the
        refined student.
    fraction_ : float
        How far the student goes on that way, in a second fit to all rows.
    n_iter_ : int
        Number of students gone through: the closed form, and one for every step.
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had string names.

    See Also
    --------
    perception_coherence_score : What the fit is for.
    PerceptionCoherenceLoss : The loss for any training loop.

    Notes
    -----
    The loss is :math:`w \log L_\text{far} + \log L_\text{near}`. :math:`L_\text{far}` is the
    loss of :class:`PerceptionCoherenceLoss` with power 1, of soft ranks, over random references.
    :math:`L_\text{near}` is one minus the correlation of the student's dissimilarities with
    the logarithm of the teacher's ranks over references from the anchor's neighbourhood. The
    logarithms make the balance independent of the losses' scales. With p the `rank_power`,
    :math:`w = 1.8\,(-\log L_0)^{1.4}\, p / (1 - p)`, where :math:`L_0` is the near loss of the
    closed form (2.5 times as much for a transfer): the better the start keeps neighbours, the
    more the far loss weighs. The numbers were measured on text.

    Under a metric of angles, a linear student that compresses its own teacher is not quite
    linear. What it makes of a row x is :math:`y + \ell\,(s \odot y + |x|\,t)` with
    :math:`y = W x` and :math:`\ell = 1 - |y| / |x|`, the share of the norm that W loses, which
    the direction of y does not show. The vectors s and t are learned, and zero at the start.

    The method follows the idea of perception coherence [1]_; the formulas are this project's
    own. See the user guide for how the fit goes.

    References
    ----------
    .. [1] Nguyen, Gamboa, Zhang, Chhaibi, Gratton, Giaccone, "Feature representation
       transferring to lightweight models via perception coherence", TMLR 2026.
       https://arxiv.org/abs/2505.06595

    Examples
    --------
    >>> from skperco import CoherenceDistiller
    >>> from skperco.datasets import load_wordnet_glosses
    >>> embeddings = load_wordnet_glosses().data
    >>> distiller = CoherenceDistiller(n_components=32, max_iter=50, random_state=0)
    >>> small = distiller.fit(embeddings[:2000]).transform(embeddings[2000:])
    >>> small.shape
    (3000, 32)
    >>> distiller.score(embeddings[2000:]) > 0.75
    True
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "student": [StrOptions({"linear", "mlp"})],
        "metric": [str, callable],
        "teacher_metric": [str, callable, None],
        "rank_power": [Interval(numbers.Real, 0, 1, closed="both")],
        "hidden_layer_sizes": ["array-like"],
        "batch_size": [Interval(numbers.Integral, 1, None, closed="left")],
        "n_references": [Interval(numbers.Integral, 3, None, closed="left")],
        "n_neighbors": [Interval(numbers.Integral, 2, None, closed="left")],
        "learning_rate_init": [Interval(numbers.Real, 0, None, closed="neither")],
        "max_iter": [Interval(numbers.Integral, 0, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(numbers.Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
        "device": [str, torch.device],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_components=None,
        *,
        student="linear",
        metric="cosine",
        teacher_metric=None,
        rank_power=0.5,
        hidden_layer_sizes=(256,),
        batch_size=2048,
        n_references=512,
        n_neighbors=100,
        learning_rate_init=0.1,
        max_iter=150,
        early_stopping=True,
        validation_fraction=0.1,
        random_state=None,
        device="auto",
        verbose=False,
    ):
        self.n_components = n_components
        self.student = student
        self.metric = metric
        self.teacher_metric = teacher_metric
        self.rank_power = rank_power
        self.hidden_layer_sizes = hidden_layer_sizes
        self.batch_size = batch_size
        self.n_references = n_references
        self.n_neighbors = n_neighbors
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, *, teacher_embeddings=None, sample_weight=None):
        """Learn the student.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            What the student sees. Sparse input needs a teacher of its own.
        y : array-like of shape (n_samples, n_teacher_features) or (n_samples,), default=None
            The teacher's embeddings, if two-dimensional. A one-dimensional `y` is a target for
            a later step of a pipeline, and ignored; X is its own teacher then.
        teacher_embeddings : array-like of shape (n_samples, n_teacher_features), default=None
            The teacher's embeddings by name, which win over `y`.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights that stand for the distribution of the samples; zero leaves a sample out.

        Returns
        -------
        self : CoherenceDistiller

        Raises
        ------
        ValueError
            If the rows do not match, a value is not finite, there are fewer than 2 rows of
            positive weight, or there are more components than a closed form can give.
        """
        device = check_device(self.device)
        random_state = check_random_state(self.random_state)
        samples = self._check_fit_input(X, y, teacher_embeddings, sample_weight, random_state)
        fitted, held_out = self._split(samples, random_state)
        plan = self._plan(fitted, device)
        trial_seed, seed = random_state.randint(2**31, size=2)
        decision = self._decide(fitted, held_out, plan, trial_seed)
        fit = Fit(samples, decision.plan, RandomState(seed), alpha=decision.alpha)
        if self.fraction_ > 0:
            fit.refine()
        fit.blend(self.fraction_)
        self.loss_curve_ = fit.losses
        self.n_iter_ = 1 + len(fit.losses)
        self.student_ = fit.student.cpu()
        self.n_components_ = plan.n_components
        return self

    def _check_fit_input(self, X, y, teacher_embeddings, sample_weight, random_state):
        """Samples of positive weight."""
        check_metric(self.metric)
        teacher_metric = self.metric if self.teacher_metric is None else self.teacher_metric
        check_metric(teacher_metric, "teacher_metric")
        if self.metric == "precomputed":
            raise ValueError(
                "metric='precomputed' does not fit a student, whose dissimilarities change: "
                "give the teacher's table with teacher_metric='precomputed'."
            )
        with naming("X"):
            X = validate_data(
                self, X, accept_sparse="csr", dtype=[np.float64, np.float32], ensure_min_samples=2
            )
        if self.student == "mlp":
            check_layer_sizes(self.hidden_layer_sizes)
        check_magnitude(X, "X")
        weight = check_sample_weight(sample_weight, X.shape[0])
        if np.count_nonzero(weight) < 2:
            raise ValueError("sample_weight must be positive for at least 2 rows, got 1.")
        teacher = _given_teacher(y, teacher_embeddings)
        if teacher is None:
            _check_own_teacher(X, teacher_metric)
        else:
            teacher = check_embeddings(teacher, "teacher_embeddings", metric=teacher_metric)
            check_same_rows(X, teacher, "X", "teacher_embeddings")
            check_magnitude(teacher, "teacher_embeddings")
        samples = Samples(X, weight, teacher, teacher_metric)
        if not weight.all():
            samples = samples.take(np.flatnonzero(weight))
        if teacher is None:
            return samples
        targets = teacher_coordinates(samples.teacher, teacher_metric, random_state)
        return samples._replace(targets=targets)

    def _split(self, samples, random_state):
        """Samples to fit and samples to hold out."""
        rows = random_state.permutation(samples.n_rows)
        n_held_out = min(int(self.validation_fraction * len(rows)), _MOST_HELD_OUT)
        if not self.early_stopping or n_held_out < _LEAST_HELD_OUT:
            n_held_out = 0
        return samples.take(rows[n_held_out:]), samples.take(rows[:n_held_out])

    def _plan(self, fitted, device):
        settings = Settings(
            metric=self.metric,
            rank_power=self.rank_power,
            batch_size=self.batch_size,
            n_references=self.n_references,
            n_neighbors=self.n_neighbors,
            learning_rate_init=self.learning_rate_init,
            max_iter=self.max_iter,
        )
        return Plan(
            n_components=self._count_components(fitted),
            student=self.student,
            hidden_layer_sizes=self.hidden_layer_sizes,
            settings=settings,
            device=device,
            report=self._report,
        )

    def _decide(self, fitted, held_out, plan, seed):
        """A Decision, and what users may know of it."""
        decision = Decision(plan, None, [])
        if held_out.n_rows and (self.max_iter > 0 or fitted.teacher is not None):
            decision = decide(fitted, held_out, plan, seed)
        self.fraction_ = decision.fraction if self.early_stopping or self.max_iter == 0 else 1.0
        self.validation_scores_ = self.validation_fractions_ = None
        if decision.judgements:
            self.validation_fractions_ = list(FRACTIONS)
            self.validation_scores_ = [judged.coherence for judged in decision.judgements]
            self._report_decision(decision)
        return decision

    def _count_components(self, fitted):
        n_rows, n_features = fitted.X.shape
        limits = {f"{n_rows} rows": n_rows, f"{n_features} features": n_features}
        if fitted.targets is not None:
            n_targets = fitted.targets.shape[1]
            limits[f"{n_targets} dimensions of the teacher"] = n_targets
        most = min(limits.values())
        if self.n_components is None:
            return min(_DEFAULT_COMPONENTS, most)
        if self.n_components > most:
            raise ValueError(
                f"n_components={self.n_components} is more than the closed form can give from "
                f"{' and '.join(limits)}: choose at most {most}, or None."
            )
        return self.n_components

    def _report_decision(self, decision):
        if self.verbose:
            first, last = decision.judgements[0], decision.judgements[decision.chosen]
            print(
                f"[CoherenceDistiller] held-out rows: coherence {first.coherence:.4f} -> "
                f"{last.coherence:.4f}, recall {first.recall:.4f} -> {last.recall:.4f}"
            )

    def _report(self, step, loss):
        if self.verbose and step % max(1, self.max_iter // _ROUNDS) == 0:
            print(f"[CoherenceDistiller] step {step}/{self.max_iter}, loss {loss:.4f}")

    def transform(self, X):
        """Embed X as the student does.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        embeddings : ndarray of shape (n_samples, `n_components_`)
            In the dtype of X, float32 or float64 (other dtypes become float64). With
            ``metric="cosine"`` rows have unit norm, except zero ones.
        """
        check_is_fitted(self)
        with naming("X"):
            X = validate_data(
                self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False
            )
        return embed(
            self.student_,
            X,
            device=check_device(self.device),
            unit_norm=self.metric == "cosine",
        )

    def score(self, X, y=None, *, teacher_embeddings=None, sample_weight=None):
        """Perception coherence of the student's embedding of X with the teacher's.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples, n_teacher_features) or (n_samples,), default=None
            The teacher's embeddings if two-dimensional, as in :meth:`fit`.
        teacher_embeddings : array-like of shape (n_samples, n_teacher_features), default=None
            The teacher's embeddings by name, which win over `y`. Without either, X itself.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        score : float
            As :func:`perception_coherence_score` gives it; sampled, and repeatable, where
            there are many rows.
        """
        teacher = _given_teacher(y, teacher_embeddings)
        return perception_coherence_score(
            X if teacher is None else teacher,
            self.transform(X),
            metric=self.metric,
            teacher_metric=self.teacher_metric,
            sample_weight=sample_weight,
            device=check_device(self.device),
        )

    @property
    def _n_features_out(self):
        return self.n_components_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _check_own_teacher(X, teacher_metric):
    if sp.issparse(X):
        raise TypeError(
            "sparse X cannot be its own teacher: give teacher_embeddings, or dense X "
            "(TruncatedSVD makes it so)."
        )
    if teacher_metric == "precomputed":
        raise ValueError(
            "teacher_metric='precomputed' needs the teacher's table of dissimilarities: "
            "give it as teacher_embeddings."
        )


def _given_teacher(y, teacher_embeddings):
    """The teacher by name, or a two-dimensional y; None if X is its own teacher."""
    if teacher_embeddings is not None:
        return teacher_embeddings
    with naming("y"):
        n_dimensions = y.ndim if hasattr(y, "ndim") else np.asarray(y).ndim
    return None if n_dimensions == 1 else y
