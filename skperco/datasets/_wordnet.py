"""Five thousand WordNet glosses with their sentence embeddings."""

import gzip
import json
from importlib.resources import files
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

_DATA = files("skperco.datasets") / "data"
_FILES = {"final": "wordnet_glosses.npy", "hidden": "wordnet_glosses_hidden.npy"}


def load_wordnet_glosses(
    *, representation: Literal["final", "hidden"] = "final", return_X_y: bool = False
) -> Any:
    """Load 5,000 WordNet glosses, their categories and their embeddings.

    A gloss is a short definition of one sense of a word. Every gloss comes with a
    384-dimensional embedding of the model all-MiniLM-L6-v2 and with one of WordNet's 45
    categories, such as ``noun.animal`` or ``verb.motion``. The data ship with the package:
    loading them needs no network. See :ref:`wordnet_glosses_dataset` for their origin and
    license.

    =================   ==============
    Classes                         45
    Samples per class          2 - 600
    Samples total                 5000
    Dimensionality                 384
    Features               real, float32
    =================   ==============

    Parameters
    ----------
    representation : {"final", "hidden"}, default="final"
        Which embeddings to load.

        - "final": the output of the model, trained for cosine similarity, of unit norm;
        - "hidden": the token vectors of the model's third hidden layer, averaged. They are
          neither normalized nor centered, as is usual for models that were not trained for
          a similarity: two random rows have a cosine similarity of 0.52 on average.

    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    glosses : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the attributes

        data : ndarray of shape (5000, 384)
            The embeddings, float32. The final ones have unit norm up to the rounding of
            their file.
        target : ndarray of shape (5000,)
            The category of every gloss, as an index into `target_names`.
        target_names : ndarray of shape (45,)
            The names of the categories, in alphabetical order.
        text : list of str
            The glosses.
        names : list of str
            The word that each gloss defines.
        DESCR : str
            The description of the data, their origin and their license.

    (data, target) : tuple, if ``return_X_y`` is True
        The two arrays described above.

    Raises
    ------
    ValueError
        If `representation` is neither "final" nor "hidden".

    Examples
    --------
    >>> from skperco.datasets import load_wordnet_glosses
    >>> glosses = load_wordnet_glosses()
    >>> glosses.data.shape
    (5000, 384)
    >>> glosses.names[0], glosses.text[0]
    ('collard', 'variety of kale having smooth leaves')
    >>> str(glosses.target_names[glosses.target[0]])
    'noun.plant'
    >>> hidden = load_wordnet_glosses(representation="hidden")
    >>> hidden.data.shape
    (5000, 384)
    """
    if representation not in tuple(_FILES):
        raise ValueError(f"representation must be one of {sorted(_FILES)}, got {representation!r}.")
    data = _load_embeddings(_FILES[representation])
    rows = _load_rows()
    target_names, target = np.unique([row["label"] for row in rows], return_inverse=True)
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        target_names=target_names,
        text=[row["text"] for row in rows],
        names=[row["name"] for row in rows],
        DESCR=(_DATA / "wordnet_glosses.rst").read_text(encoding="utf-8"),
    )


def _load_embeddings(name: str) -> NDArray[np.float32]:
    with (_DATA / name).open("rb") as file:
        return np.load(file, allow_pickle=False).astype(np.float32)


def _load_rows() -> list[dict[str, str]]:
    compressed = (_DATA / "wordnet_glosses.jsonl.gz").read_bytes()
    # Not str.splitlines: it also breaks at characters that JSON allows inside a string.
    return [json.loads(line) for line in gzip.decompress(compressed).splitlines()]
