"""Displays of curves and matrices of coherence; they need matplotlib."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from skperco.metrics._curve import CoherenceCurve, coherence_curve
from skperco.metrics._pairwise import pairwise_perception_coherence
from skperco.utils._optional_imports import import_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.lines import Line2D

# The palette of Okabe and Ito, for color-blind readers, with dashes and markers for print.
_STYLES: list[dict[str, Any]] = [
    {"color": color, "linestyle": dashes, "marker": marker}
    for color, dashes, marker in [
        ("#000000", "-", "o"),
        ("#d55e00", "--", "D"),
        ("#0072b2", ":", "s"),
        ("#009e73", "-.", "^"),
        ("#cc79a7", (0, (5, 1)), "v"),
        ("#e69f00", (0, (1, 1)), "P"),
        ("#56b4e9", (0, (3, 1, 1, 1)), "X"),
    ]
]


def _pyplot() -> Any:
    return import_extra("matplotlib.pyplot", "plot", "for the displays of skperco")


class CoherenceCurveDisplay:
    """Coherence of students as a function of the fraction of nearest references compared.

    Create it with :meth:`from_embeddings` or :meth:`from_estimator`. Plotting needs matplotlib:
    ``pip install 'skperco[plot]'``.

    Parameters
    ----------
    curves : dict of str to CoherenceCurve
        Maps names of students to curves from :func:`coherence_curve`.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
        One for each curve.

    Examples
    --------
    >>> import numpy as np
    >>> from skperco import CoherenceCurveDisplay
    >>> teacher = np.random.default_rng(0).normal(size=(100, 6))
    >>> students = {"3 of 6": teacher[:, :3], "5 of 6": teacher[:, :5]}
    >>> display = CoherenceCurveDisplay.from_embeddings(teacher, students)
    >>> [line.get_label() for line in display.lines_]
    ['3 of 6', '5 of 6']
    """

    def __init__(self, curves: Mapping[str, CoherenceCurve]) -> None:
        self.curves = curves

    @classmethod
    def from_embeddings(
        cls,
        teacher: Any,
        student: Any,
        *,
        name: str = "student",
        ax: "Axes | None" = None,
        curve_kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> "CoherenceCurveDisplay":
        """Plot the curves of embeddings.

        Parameters
        ----------
        teacher : {array-like, sparse matrix} of shape (n_samples, n_features)
        student : {array-like, sparse matrix} of shape (n_samples, n_features), or dict
            One student, or a dict from names to students.
        name : str, default="student"
            Name of a single student.
        ax : matplotlib Axes, default=None
            Axes to plot on; those of a new figure if None.
        curve_kwargs : dict, default=None
            Keyword arguments of matplotlib's ``plot``, for every line.
        **options : dict
            Keyword arguments of :func:`coherence_curve`, such as ``metric="euclidean"``.

        Returns
        -------
        display : CoherenceCurveDisplay
        """
        students = student if isinstance(student, Mapping) else {name: student}
        curves = {
            label: coherence_curve(teacher, rows, **options) for label, rows in students.items()
        }
        return cls(curves).plot(ax, curve_kwargs=curve_kwargs)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        teacher_embeddings: Any = None,
        *,
        name: str | None = None,
        ax: "Axes | None" = None,
        curve_kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> "CoherenceCurveDisplay":
        """Plot the curves of the output of fitted transformers.

        Parameters
        ----------
        estimator : transformer or dict
            One fitted estimator with a ``transform`` method, or a dict from names to estimators.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        teacher_embeddings : array-like of shape (n_samples, n_teacher_features), default=None
            The teacher's embeddings of the same samples; X itself if None.
        name : str, default=None
            Name of a single estimator; the name of its class if None.
        ax : matplotlib Axes, default=None
            Axes to plot on; those of a new figure if None.
        curve_kwargs : dict, default=None
            Keyword arguments of matplotlib's ``plot``, for every line.
        **options : dict
            Keyword arguments of :func:`coherence_curve`, such as ``metric="euclidean"``.

        Returns
        -------
        display : CoherenceCurveDisplay
        """
        if not isinstance(estimator, Mapping):
            estimator = {type(estimator).__name__ if name is None else name: estimator}
        students = {label: one.transform(X) for label, one in estimator.items()}
        teacher = X if teacher_embeddings is None else teacher_embeddings
        return cls.from_embeddings(teacher, students, ax=ax, curve_kwargs=curve_kwargs, **options)

    def plot(
        self, ax: "Axes | None" = None, *, curve_kwargs: Mapping[str, Any] | None = None
    ) -> "CoherenceCurveDisplay":
        """Plot the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on; those of a new figure if None.
        curve_kwargs : dict, default=None
            Keyword arguments of matplotlib's ``plot``, for every line.

        Returns
        -------
        display : CoherenceCurveDisplay
        """
        if ax is None:
            ax = _pyplot().subplots(layout="constrained")[1]
        self.lines_: list[Line2D] = []
        for index, (name, curve) in enumerate(self.curves.items(), start=len(ax.lines)):
            style = {"markerfacecolor": "none", **_STYLES[index % len(_STYLES)]}
            style |= {"label": name, **(curve_kwargs or {})}
            self.lines_ += ax.plot(100 * curve.percentiles, curve.coherences, **style)
        ax.set(
            xscale="log",
            xlabel="largest percentile rank of the teacher's dissimilarity (%)",
            ylabel="coherence with the teacher",
        )
        ax.xaxis.set_major_formatter("{x:g}")
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self


class CoherenceMatrixDisplay:
    """Coherence of every pair of representations, in the order of a hierarchical clustering.

    Create it with :meth:`from_representations`. Plotting needs matplotlib:
    ``pip install 'skperco[plot]'``.

    Parameters
    ----------
    matrix : array-like of shape (n_representations, n_representations)
        From :func:`pairwise_perception_coherence`.
    names : sequence of str
        Names of the representations.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    image_ : matplotlib AxesImage
    order_ : ndarray of shape (n_representations,)
        Indices of the representations, from top to bottom.

    Examples
    --------
    >>> import numpy as np
    >>> from skperco import CoherenceMatrixDisplay
    >>> rows = np.random.default_rng(0).normal(size=(100, 6))
    >>> models = {"all": rows, "noise": rows[::-1], "half": rows[:, :3]}
    >>> display = CoherenceMatrixDisplay.from_representations(models)
    >>> [display.names[i] for i in display.order_].index("noise") in (0, 2)
    True
    """

    def __init__(self, matrix: ArrayLike, names: Sequence[str]) -> None:
        self.matrix = matrix
        self.names = names

    @classmethod
    def from_representations(
        cls,
        representations: Mapping[str, Any] | Sequence,
        *,
        ax: "Axes | None" = None,
        cmap: "str | Colormap" = "cividis",
        **options: Any,
    ) -> "CoherenceMatrixDisplay":
        """Plot the matrix of several representations of the same samples.

        Parameters
        ----------
        representations : dict or sequence of {array-like, sparse matrix}
            As for :func:`pairwise_perception_coherence`; the keys of a dict are their names.
        ax : matplotlib Axes, default=None
            Axes to plot on; those of a new figure if None.
        cmap : str or matplotlib Colormap, default="cividis"
        **options : dict
            Keyword arguments of :func:`pairwise_perception_coherence`.

        Returns
        -------
        display : CoherenceMatrixDisplay
        """
        named = isinstance(representations, Mapping)
        names = list(representations) if named else list(map(str, range(len(representations))))
        matrix = pairwise_perception_coherence(representations, **options)
        return cls(matrix, names).plot(ax, cmap=cmap)

    def plot(
        self, ax: "Axes | None" = None, *, cmap: "str | Colormap" = "cividis"
    ) -> "CoherenceMatrixDisplay":
        """Plot the matrix.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on; those of a new figure if None.
        cmap : str or matplotlib Colormap, default="cividis"

        Returns
        -------
        display : CoherenceMatrixDisplay
        """
        n = len(self.names)
        if ax is None:
            size = 2.5 + 0.65 * n
            ax = _pyplot().subplots(figsize=(size + 1, size), layout="constrained")[1]
        matrix = np.asarray(self.matrix, dtype=np.float64)
        self.order_ = _clustering_order(matrix)
        shown = matrix[np.ix_(self.order_, self.order_)]
        self.image_ = ax.imshow(shown, cmap=cmap, vmin=min(0.5, float(np.nanmin(shown))), vmax=1)
        is_dark = np.asarray(self.image_.norm(shown)) < 0.5
        for row, column in np.ndindex(n, n):
            color = "white" if is_dark[row, column] else "black"
            label = f"{shown[row, column]:.2f}"
            ax.text(column, row, label, ha="center", va="center", color=color)
        names = [self.names[i] for i in self.order_]
        ax.set_xticks(range(n), names, rotation=45, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(n), names)
        ax.set(xlabel="student", ylabel="teacher")
        ax.figure.colorbar(self.image_, ax=ax, label="perception coherence")
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _clustering_order(matrix: NDArray[np.floating]) -> NDArray[np.integer]:
    """Order of the leaves of a hierarchical clustering, with 1 - coherence as the distance."""
    distances = 1 - (matrix + matrix.T) / 2
    # The distances of a representation with ties only are undefined: take the largest distance.
    distances = np.nan_to_num(distances, nan=1.0)
    np.fill_diagonal(distances, 0)
    condensed = squareform(distances.clip(0), checks=False)
    return leaves_list(linkage(condensed, method="average", optimal_ordering=True))
