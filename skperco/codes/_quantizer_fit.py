"""The fit of a quantizer: the choice of a candidate on held-out rows, and the final fit."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from numpy.random import RandomState
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes
from sklearn.preprocessing import normalize

from skperco.closed_form._truncated_svd import top_singular_vectors
from skperco.codes._encoder import (
    CodeEncoder,
    random_rotation,
    scale_of_queries,
)
from skperco.codes._methods import FIXED_BITS, NO_LIMIT, dimension_limits, train_code
from skperco.dissimilarity._table import dissimilarity_table
from skperco.training._holdout import HoldoutScorer, count_held_out
from skperco.training._samples import Samples

# Numbers of dimensions to choose from, for each byte of a code: 8 bits to 1 bit for a dimension.
_DIMENSIONS_PER_BYTE = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
# Index of the number with which the search begins, which is the best for most budgets.
_FIRST = 3
# Numbers for residual codes, whose search begins with the largest one.
_RESIDUAL_DIMENSIONS_PER_BYTE = (12.0, 24.0, 48.0)
_MAX_RESIDUAL_DIMENSIONS = 512
# Smallest and largest number of bytes for which a method is a candidate. Residual codes of more
# bytes take too long to encode. Scalar codes of fewer bytes keep less than product codes, and those
# of more bytes keep more.
_AUTO = {"product": (1, 128), "residual": (1, 32), "scalar": (64, NO_LIMIT)}
# Neighbors whose recall is scored, as a fraction of the held-out rows: more would be easy to keep.
_NEIGHBOR_FRACTION = 0.01
_MIN_NEIGHBORS = 3
# The codes of candidates are trained on fewer rows, to take less time.
_MAX_CANDIDATE_ROWS = 4096
# Rows from which the scale of queries is estimated.
_MAX_QUERIES = 200
_MAX_DOCUMENTS = 4000


class Candidate(NamedTuple):
    """A method, its number of dimensions, and how the rows are embedded.

    Attributes
    ----------
    method : str
    n_components : int
    trained : bool
        False for the closed form: singular vectors, or a ridge regression onto the teacher.
    rotated : bool, default=True
        Whether principal components are coded. Otherwise the columns of X are, some of which may
        have few values, or be correlated with adjacent ones, as pixels are.
    """

    method: str
    n_components: int
    trained: bool
    rotated: bool = True


class CodeOptions(NamedTuple):
    """Parameters of the estimator on which its fit depends."""

    n_bytes: int
    method: str
    n_components: int | None
    metric: str
    rank_power: float
    beam_width: int
    validation_fraction: float
    max_samples: int


class CodeResult(NamedTuple):
    """A fitted distiller and encoder, and how they were chosen.

    Attributes
    ----------
    distiller : CoherenceDistiller
    encoder : CodeEncoder
        On the CPU.
    candidate : Candidate
    validation_scores : dict of Candidate to float
        Empty if there was nothing to choose.
    """

    distiller: Any
    encoder: CodeEncoder
    candidate: Candidate
    validation_scores: dict[Candidate, float]


class QuantizerFit:
    """Choice of a candidate by its scores on held-out rows, and a fit of it to all rows.

    Parameters
    ----------
    options : CodeOptions
    samples : Samples
    new_distiller : callable
        From (n_components, trained) to an unfitted distiller.
    may_train : tuple of bool
        Values of `trained` to try.
    random_state : RandomState
    device : torch.device
    report : callable
        Called with a message after each fit.
    """

    def __init__(
        self,
        options: CodeOptions,
        samples: Samples,
        *,
        new_distiller: Callable[[int, bool], Any],
        may_train: tuple[bool, ...],
        random_state: RandomState,
        device: torch.device,
        report: Callable[[str], None],
    ) -> None:
        self.options = options
        self.samples = samples
        self.new_distiller = new_distiller
        self.may_train = may_train
        self.random_state = random_state
        self.device = device
        self.report = report

    def run(self) -> CodeResult:
        """Choose a candidate, and fit it to all rows."""
        # Drawn first, so that repeated rows and weighted rows have the same seed.
        self.seed = int(self.random_state.randint(2**31 - 1))
        drawn = self.random_state.permutation(self.samples.rows)[: self.options.max_samples]
        self.subset = self.samples.take(drawn)
        self.scores: dict[Candidate, float] = {}
        self.n_held_out = count_held_out(len(drawn), self.options.validation_fraction)
        candidate = self._choose()
        distiller, encoder = self._fit(candidate, self.samples, self.subset)
        self.report(f"fitted to all rows: {_description(candidate)}")
        return CodeResult(distiller, encoder, candidate, self.scores)

    def _choose(self) -> Candidate:
        """The candidate with the best score; the first one if rows are too few for scores."""
        first, *others = [self._first(method) for method in self._methods()]
        one_size = len(self._sizes(first.method)) == 1
        if not self.n_held_out or (one_size and not others and len(self.may_train) == 1):
            return first
        self._split()
        best = self._climb(first)
        for other in others:
            best = max(best, self._climb(other), key=self._score)
        for trained in self.may_train[1:]:
            best = max(best, best._replace(trained=trained), key=self._score)
        if self._may_code_columns():
            columns = Candidate("product", self.subset.X.shape[1], trained=False, rotated=False)
            best = max(best, columns, key=self._score)
        return best

    def _may_code_columns(self) -> bool:
        """Whether product codes of the columns of X are a candidate."""
        n_features = self.subset.X.shape[1]
        return (
            "product" in self._methods()
            and self.may_train == (False,)
            and not sp.issparse(self.subset.X)
            and self.options.n_components in (None, n_features)
            and self.options.n_bytes <= n_features < self.candidate_rows.n_rows
        )

    def _first(self, method: str) -> Candidate:
        """The candidate with which the search for the number of dimensions begins."""
        sizes = self._sizes(method)
        position = len(sizes) - 1 if method == "residual" else min(_FIRST, len(sizes) - 1)
        return Candidate(method, sizes[position], self.may_train[0])

    def _climb(self, first: Candidate) -> Candidate:
        """The best number of dimensions, by hill climbing over neighboring numbers."""
        sizes = self._sizes(first.method)
        best = position = sizes.index(first.n_components)
        for direction in (1, -1):
            position = best + direction
            while 0 <= position < len(sizes):
                rival = first._replace(n_components=sizes[position])
                if self._score(rival) <= self._score(first._replace(n_components=sizes[best])):
                    break
                best, position = position, position + direction
        return first._replace(n_components=sizes[best])

    def _methods(self) -> list[str]:
        """Methods to choose from."""
        if self.options.method != "auto":
            return [self.options.method]
        return [
            method
            for method, (least, most) in _AUTO.items()
            if least <= self.options.n_bytes <= most
        ]

    def _sizes(self, method: str) -> list[int]:
        """Numbers of dimensions to choose from, in ascending order."""
        n_features = self.subset.X.shape[1]
        if self.subset.teacher is not None:
            n_features = min(n_features, self.subset.teacher.shape[1])
        if self.options.n_components is not None:
            return [self.options.n_components]
        least, most = dimension_limits(method, self.options.n_bytes)
        if method in FIXED_BITS:
            return [min(most, n_features)]
        ratios: tuple[float, ...] = _DIMENSIONS_PER_BYTE
        if method == "residual":
            ratios, most = _RESIDUAL_DIMENSIONS_PER_BYTE, _MAX_RESIDUAL_DIMENSIONS
        wanted = {int(ratio * self.options.n_bytes) for ratio in ratios}
        if method == "scalar":
            # Words of two bytes need equal numbers of dimensions.
            wanted.add(n_features - n_features % max(1, self.options.n_bytes // 2))
        return sorted({min(max(size, least), most, n_features) for size in wanted})

    def _split(self) -> None:
        rows = np.arange(self.subset.n_rows)
        self.held_out = self.subset.take(rows[: self.n_held_out])
        rest = rows[self.n_held_out :]
        self.rest = self.subset.take(rest)
        self.candidate_rows = self.subset.take(rest[:_MAX_CANDIDATE_ROWS])
        table = dissimilarity_table(
            self.held_out.representation, self.samples.teacher_metric, device=self.device
        )
        weight = self.held_out.weight
        n_neighbors = max(_MIN_NEIGHBORS, round(_NEIGHBOR_FRACTION * self.n_held_out))
        self.scorer = HoldoutScorer(table, self.options.metric, weight, n_neighbors)

    def _score(self, candidate: Candidate) -> float:
        """Mean of the criterion of exact and of coded queries on the held-out rows."""
        if candidate not in self.scores:
            distiller, encoder = self._fit(candidate, self.rest, self.candidate_rows)
            embeddings = _embed(distiller, encoder, self.held_out)
            decoded = encoder.decode(encoder.code.encode(embeddings))
            pair = [one.numpy() for one in (embeddings, decoded)]
            power = self.options.rank_power
            scores = [self.scorer(pair[1], queries).criterion(power) for queries in pair]
            self.scores[candidate] = float(np.mean(scores))
            self.report(f"{_description(candidate)}: score {self.scores[candidate]:.4f}")
        return self.scores[candidate]

    def _fit(
        self, candidate: Candidate, samples: Samples, subset: Samples
    ) -> tuple[Any, CodeEncoder]:
        """Fit a distiller to samples, and a code to the embeddings of a subset of them."""
        distiller = self.new_distiller(candidate.n_components, candidate.trained)
        distiller.set_params(random_state=self.seed)
        distiller.fit(samples.X, teacher_embeddings=samples.teacher, sample_weight=samples.weight)
        embeddings = distiller.transform(subset.X).astype(np.float32, copy=False)
        random_state = RandomState(self.seed)
        is_angular = self.options.metric == "cosine"
        offset, rotation = _principal_rotation(
            embeddings, subset.weight, center=not is_angular, random_state=random_state
        )
        if candidate.method == "binary":
            # The signs of principal components, of different variances, would count the same.
            rotation = random_rotation(len(rotation), random_state)
        if not candidate.rotated:
            rotation = _rotation_to_columns(embeddings - offset, subset.X, is_angular)
        embeddings = (embeddings - offset) @ rotation
        order, code = train_code(
            candidate.method,
            embeddings,
            self.options.n_bytes,
            beam_width=self.options.beam_width,
            correlated=not candidate.rotated,
            sample_weight=subset.weight,
            random_state=random_state,
            device=self.device,
        )
        scale = self._scale_of_queries(embeddings[:, order], code) if is_angular else 1.0
        encoder = CodeEncoder(
            distiller.to_torch(),
            code,
            torch.from_numpy(offset),
            torch.from_numpy(np.ascontiguousarray(rotation[:, order])),
            torch.tensor(scale, dtype=torch.float32),
            unit_norm=is_angular,
        )
        return distiller, encoder.eval()

    def _scale_of_queries(self, embeddings: NDArray[np.float32], code: Any) -> float:
        documents = torch.from_numpy(embeddings[:_MAX_DOCUMENTS])
        decoded = code.decode(code.encode(documents)).numpy()
        return scale_of_queries(embeddings[:_MAX_QUERIES], decoded)


def _principal_rotation(
    embeddings: NDArray[np.float32],
    sample_weight: NDArray[np.float64],
    *,
    center: bool,
    random_state: RandomState,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Offset, and the rotation after which the columns of the embeddings are uncorrelated.

    The columns are in descending order of variance. The offset is the mean, or zero without
    centering, and then the second moments are diagonalized in place of the covariances.
    """
    projection = top_singular_vectors(
        embeddings,
        embeddings.shape[1],
        center=center,
        sample_weight=sample_weight,
        random_state=random_state,
    )
    rotation = projection.weight.T
    offset = -rotation @ projection.bias
    return offset.astype(np.float32), rotation.astype(np.float32)


def _rotation_to_columns(
    embeddings: NDArray[np.float32], X: NDArray[np.floating], is_angular: bool
) -> NDArray[np.float32]:
    """Rotation of embeddings of all dimensions that undoes that of the distiller."""
    target = normalize(X) if is_angular else X - X.mean(axis=0)
    return orthogonal_procrustes(embeddings, target)[0].astype(np.float32)


def _embed(distiller: Any, encoder: CodeEncoder, samples: Samples) -> torch.Tensor:
    embeddings = torch.from_numpy(distiller.transform(samples.X)).float()
    return (embeddings - encoder.offset) @ encoder.rotation


def _description(candidate: Candidate) -> str:
    kind = "trained" if candidate.trained else "closed form"
    kind = kind if candidate.rotated else "columns of X"
    return f"{candidate.method} code of {candidate.n_components} dimensions, {kind}"
