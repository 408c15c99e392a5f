"""Displays of curves and matrices of coherence; they need matplotlib."""

from collections.abc import Mapping

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from skperco.metrics._curve import coherence_curve
from skperco.metrics._pairwise import pairwise_perception_coherence
from skperco.utils._optional_imports import import_extra

# The palette of Okabe and Ito, for color-blind readers, with dashes and markers for print.
_STYLES = [
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


def _pyplot():
    return import_extra("matplotlib.pyplot", "plot", "for the displays of skperco")


class CoherenceCurveDisplay:
    """Coherence of students by how near the references are that are compared.

    Make it with :meth:`from_embeddings` or :meth:`from_estimator`.

    Parameters
    ----------
    curves : dict of str to CoherenceCurve
        As from :func:`coherence_curve`, by the names of the students.

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

    def __init__(self, curves):
        self.curves = curves

    @classmethod
    def from_embeddings(
        cls, teacher, student, *, name="student", ax=None, curve_kwargs=None, **options
    ):
        """Draw from embeddings.

        Parameters
        ----------
        teacher : {array-like, sparse matrix} of shape (n_samples, n_features)
        student : {array-like, sparse matrix} of shape (n_samples, n_features) or dict of such
            One student, or several by their names.
        name : str, default="student"
            Of the student, if there is but one.
        ax : matplotlib Axes, default=None
            Where to draw; on a new figure if None.
        curve_kwargs : dict, default=None
            For every line, as matplotlib's ``plot`` takes them.
        **options : dict
            For :func:`coherence_curve`, such as ``metric="euclidean"``.

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
        estimator,
        X,
        teacher_embeddings=None,
        *,
        name=None,
        ax=None,
        curve_kwargs=None,
        **options,
    ):
        """Draw what fitted transformers make of X.

        Parameters
        ----------
        estimator : transformer or dict of such
            One fitted estimator with a ``transform`` method, or several by their names.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        teacher_embeddings : array-like of shape (n_samples, n_teacher_features), default=None
            What the teacher makes of the same samples; X itself if None.
        name : str, default=None
            Of the estimator, if there is but one; the name of its class if None.
        ax : matplotlib Axes, default=None
            Where to draw; on a new figure if None.
        curve_kwargs : dict, default=None
            For every line, as matplotlib's ``plot`` takes them.
        **options : dict
            For :func:`coherence_curve`, such as ``metric="euclidean"``.

        Returns
        -------
        display : CoherenceCurveDisplay
        """
        if not isinstance(estimator, Mapping):
            estimator = {type(estimator).__name__ if name is None else name: estimator}
        students = {label: one.transform(X) for label, one in estimator.items()}
        teacher = X if teacher_embeddings is None else teacher_embeddings
        return cls.from_embeddings(teacher, students, ax=ax, curve_kwargs=curve_kwargs, **options)

    def plot(self, ax=None, *, curve_kwargs=None):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; on a new figure if None.
        curve_kwargs : dict, default=None
            For every line, as matplotlib's ``plot`` takes them.

        Returns
        -------
        display : CoherenceCurveDisplay
        """
        if ax is None:
            ax = _pyplot().subplots(layout="constrained")[1]
        drawn = len(ax.lines)
        self.lines_ = []
        for number, (name, curve) in enumerate(self.curves.items(), start=drawn):
            style = {"markerfacecolor": "none", **_STYLES[number % len(_STYLES)]}
            style |= {"label": name} | (curve_kwargs or {})
            self.lines_ += ax.plot(100 * curve.percentiles, curve.coherences, **style)
        ax.set(
            xscale="log",
            xlabel="nearest references compared (% of all, as the teacher sees them)",
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

    Make it with :meth:`from_representations`.

    Parameters
    ----------
    matrix : array-like of shape (n_representations, n_representations)
        As from :func:`pairwise_perception_coherence`.
    names : sequence of str
        Of the representations.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    image_ : matplotlib AxesImage
    order_ : ndarray of shape (n_representations,)
        Numbers of the representations, from the top.

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

    def __init__(self, matrix, names):
        self.matrix = matrix
        self.names = names

    @classmethod
    def from_representations(cls, representations, *, ax=None, cmap="cividis", **options):
        """Draw from representations of the same samples.

        Parameters
        ----------
        representations : dict or sequence of {array-like, sparse matrix}
            As for :func:`pairwise_perception_coherence`; a dict gives their names.
        ax : matplotlib Axes, default=None
            Where to draw; on a new figure if None.
        cmap : str or matplotlib Colormap, default="cividis"
        **options : dict
            For :func:`pairwise_perception_coherence`.

        Returns
        -------
        display : CoherenceMatrixDisplay
        """
        named = isinstance(representations, Mapping)
        names = list(representations) if named else list(map(str, range(len(representations))))
        matrix = pairwise_perception_coherence(representations, **options)
        return cls(matrix, names).plot(ax, cmap=cmap)

    def plot(self, ax=None, *, cmap="cividis"):
        """Draw the matrix.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; on a new figure if None.
        cmap : str or matplotlib Colormap, default="cividis"

        Returns
        -------
        display : CoherenceMatrixDisplay
        """
        n = len(self.names)
        if ax is None:
            size = 2.5 + 0.65 * n
            ax = _pyplot().subplots(figsize=(size + 1, size), layout="constrained")[1]
        self.order_ = _similar_beside_each_other(np.asarray(self.matrix))
        shown = np.asarray(self.matrix)[np.ix_(self.order_, self.order_)]
        self.image_ = ax.imshow(shown, cmap=cmap, vmin=min(0.5, np.nanmin(shown)), vmax=1)
        for row, column in np.ndindex(n, n):
            value = shown[row, column]
            ink = "white" if self.image_.norm(value) < 0.5 else "black"
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=ink)
        names = [self.names[i] for i in self.order_]
        ax.set_xticks(range(n), names, rotation=45, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(n), names)
        ax.set(xlabel="student", ylabel="teacher")
        ax.figure.colorbar(self.image_, ax=ax, label="perception coherence")
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _similar_beside_each_other(matrix):
    """Order of the leaves of a hierarchical clustering, with 1 - coherence as the distance."""
    distances = 1 - (matrix + matrix.T) / 2
    # A representation with ties only has the largest distance to all others.
    distances = np.nan_to_num(distances, nan=1.0)
    np.fill_diagonal(distances, 0)
    condensed = squareform(distances.clip(0), checks=False)
    return leaves_list(linkage(condensed, method="average", optimal_ordering=True))
