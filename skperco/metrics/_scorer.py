"""A scorer of transformers for model selection."""

from collections.abc import Callable
from typing import Any

from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.utils.metadata_routing import UNCHANGED, MetadataRequest

from skperco.metrics._scores import perception_coherence_score
from skperco.utils._validation import given_teacher


class PerceptionCoherenceScorer:
    """Score a transformer by how well its output agrees with a teacher.

    For the ``scoring`` parameter of :class:`~sklearn.model_selection.GridSearchCV`,
    :func:`~sklearn.model_selection.cross_validate` and similar tools, where the estimator is any
    transformer, or a pipeline that ends in one. Larger is better.

    Parameters
    ----------
    score : callable, default=perception_coherence_score
        Takes (teacher, student), as :func:`perception_coherence_score` and
        :func:`neighbor_recall_score` do, and ``sample_weight`` if weights are passed.
    **options : dict
        Keyword arguments of `score`, such as ``metric="euclidean"``.

    See Also
    --------
    CoherenceDistiller.score : The same with the distiller's own metrics.

    Examples
    --------
    >>> from sklearn.decomposition import TruncatedSVD
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skperco import PerceptionCoherenceScorer
    >>> from skperco.datasets import load_wordnet_glosses
    >>> embeddings = load_wordnet_glosses().data[:500]
    >>> search = GridSearchCV(
    ...     TruncatedSVD(), {"n_components": [4, 32]}, scoring=PerceptionCoherenceScorer()
    ... )
    >>> search.fit(embeddings).best_params_
    {'n_components': 32}
    """

    def __init__(
        self, score: Callable[..., float] = perception_coherence_score, **options: Any
    ) -> None:
        self.score = score
        self.options = options
        # With None, scikit-learn raises an error if they are passed but not requested, and does not
        # ignore them silently.
        self._metadata_request = MetadataRequest(owner=type(self).__name__)
        self._request(teacher_embeddings=None, sample_weight=None)

    def __repr__(self) -> str:
        score = getattr(self.score, "__name__", repr(self.score))
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"{type(self).__name__}({score}{options})"

    def __call__(
        self,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        teacher_embeddings: Any = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Score the estimator's transform of X.

        Parameters
        ----------
        estimator : object
            Fitted, with a ``transform`` method.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples, n_teacher_features) or (n_samples,), default=None
            The teacher's embeddings, if it is a matrix of floating-point numbers with at least
            two columns; ignored otherwise.
        teacher_embeddings : array-like of shape (n_samples, n_teacher_features), default=None
            The teacher's embeddings, which take precedence over `y`. Without either, X itself.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        score : float
        """
        teacher = given_teacher(y, teacher_embeddings, default=X)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        return self.score(teacher, estimator.transform(X), **weights, **self.options)

    def set_score_request(
        self,
        *,
        teacher_embeddings: bool | str | None = UNCHANGED,
        sample_weight: bool | str | None = UNCHANGED,
    ) -> "PerceptionCoherenceScorer":
        """Request metadata for the scorer, as for scikit-learn's estimators.

        Parameters
        ----------
        teacher_embeddings, sample_weight : bool, None or str
            True requests it, False ignores it, None raises an error if it is passed, and a string
            is the name under which it is passed.

        Returns
        -------
        self : PerceptionCoherenceScorer

        Raises
        ------
        RuntimeError
            If scikit-learn's metadata routing is not enabled.
        """
        if not get_config()["enable_metadata_routing"]:
            raise RuntimeError(
                "set_score_request needs metadata routing: "
                "sklearn.set_config(enable_metadata_routing=True)."
            )
        self._request(teacher_embeddings=teacher_embeddings, sample_weight=sample_weight)
        return self

    def get_metadata_routing(self) -> MetadataRequest:
        """Metadata requests, for scikit-learn's routing."""
        return self._metadata_request

    def _request(self, **aliases: bool | str | None) -> None:
        for name, alias in aliases.items():
            if alias is not UNCHANGED:
                self._metadata_request.score.add_request(param=name, alias=alias)

    def _accept_sample_weight(self) -> bool:
        """Whether weights may be passed; scikit-learn calls this when there are several scorers."""
        return True
