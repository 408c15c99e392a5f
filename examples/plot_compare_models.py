"""
Do these models see the same?
=============================

Several models embed the same dictionary glosses. Which of them agree, and on what? Perception
coherence asks it in one way, two well-known measures in others: linear CKA [1]_ compares the
centered Gram matrices, RSA [2]_ correlates the two tables of dissimilarities. They are a few lines
each, and written here; the example shows what each of the three sees that the others do not.
"""

# %%
# The models
# ----------
# A sentence encoder, smaller forms of it, and two that know only words or letters. Another is made
# by hand: *warped* has features whose distances are those of the encoder, bent by one curve.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import spearmanr
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.kernel_approximation import Nystroem
from sklearn.pipeline import make_pipeline

from skperco import (
    CoherenceCurveDisplay,
    CoherenceDistiller,
    CoherenceMatrixDisplay,
    coherence_curve,
    perception_coherence_interval,
    perception_coherence_test,
)
from skperco.datasets import load_wordnet_glosses

glosses = load_wordnet_glosses()
train, rows = glosses.data[1000:], glosses.data[:1000]
texts = glosses.text[:1000]


def svd_of_words(**parameters):
    """Latent semantic analysis of words or of letters."""
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2, **parameters)
    model = make_pipeline(vectorizer, TruncatedSVD(64, random_state=0))
    return model.fit(glosses.text[1000:]).transform(texts)


models = {
    "MiniLM": rows,
    "distilled to 32": CoherenceDistiller(32, random_state=0).fit(train).transform(rows),
    "PCA to 32": PCA(32, random_state=0).fit(train).transform(rows),
    "PCA to 4": PCA(4, random_state=0).fit(train).transform(rows),
    "words": svd_of_words(),
    "letters": svd_of_words(analyzer="char_wb", ngram_range=(2, 4)),
    "warped": Nystroem(gamma=4, n_components=len(rows)).fit_transform(rows),
}

# %%
# Who agrees with whom
# --------------------
# The display puts beside each other those that agree. One less the entries is a metric, so that
# the clustering behind it means something.

CoherenceMatrixDisplay.from_representations(models)
plt.show()

# %%
# Three measures of agreement with MiniLM
# ---------------------------------------


def linear_cka(first, second):
    """Centered kernel alignment of linear kernels."""
    first, second = first - first.mean(0), second - second.mean(0)
    cross = np.linalg.norm(first.T @ second) ** 2
    return cross / np.linalg.norm(first.T @ first) / np.linalg.norm(second.T @ second)


def rsa(first, second, correlation):
    """Correlation of the cosine dissimilarities of all pairs."""
    pairs = np.triu_indices(len(first), 1)
    tables = []
    for model in (first, second):
        unit = model / np.maximum(np.linalg.norm(model, axis=1, keepdims=True), 1e-12)
        tables.append(1 - (unit @ unit.T)[pairs])
    return correlation(*tables)


def pearson(first, second):
    """Correlation of the values."""
    return np.corrcoef(first, second)[0, 1]


def spearman(first, second):
    """Correlation of the ranks."""
    return spearmanr(first, second).statistic


def report(teacher, students):
    """Print all measures of the agreement of each student with the teacher."""
    print(f"{'':16}coherence (95 % interval)   near   CKA   RSA: values  ranks")
    for name, student in students.items():
        score, low, high, _ = perception_coherence_interval(teacher, student)
        near = coherence_curve(teacher, student, percentiles=[0.02]).coherences[0]
        values, ranks = (rsa(teacher, student, correlation) for correlation in (pearson, spearman))
        print(
            f"{name:16}{score:.3f} ({low:.3f} to {high:.3f})     {near:.3f}  "
            f"{linear_cka(teacher, student):.3f}        {values:.3f}  {ranks:.3f}"
        )


report(rows, models)

# %%
# *Warped* puts everybody in the encoder's order. Coherence, which knows nothing but order, is 1.
# CKA and the correlation of values see that the distances are others: who needs their sizes, for
# a threshold say, needs to know.

# %%
# Near and far
# ------------
# The curve compares, seen from each gloss, only the nearest few percent of the others.

shown = ["distilled to 32", "PCA to 32", "PCA to 4", "words", "letters"]
CoherenceCurveDisplay.from_embeddings(rows, {name: models[name] for name in shown})
plt.show()

# %%
# A gap between two groups
# ------------------------
# Embeddings of two kinds of things, texts and images for instance, often lie in two clouds far
# apart. Here nouns and other words do, in the encoder as in the model of letters. Now CKA and the
# correlation of values find that the two agree: the gap is all they see. Coherence is near 3/4,
# chance among the half of the pairs that are within a group; and among near references, which the
# gap does not concern, it is what it was without the gap.

is_noun = np.char.startswith(glosses.target_names[glosses.target[:1000]].astype(str), "noun")
gap = np.where(is_noun, 2.0, -2.0)[:, None]
letters = models["letters"] / np.linalg.norm(models["letters"], axis=1, keepdims=True)
report(np.hstack([rows, gap]), {"letters": np.hstack([letters, gap])})

# %%
# Is the one student really better than the other?
# ------------------------------------------------

result = perception_coherence_test(rows, models["distilled to 32"], models["PCA to 32"])
print(f"difference {result.difference:.4f} ({result.low:.4f} to {result.high:.4f})")
print(f"p = {result.pvalue:.2g}")

# %%
# .. rubric:: References
#
# .. [1] Kornblith, Norouzi, Lee and Hinton (2019). Similarity of neural network representations
#    revisited. ICML. https://arxiv.org/abs/1905.00414
# .. [2] Kriegeskorte, Mur and Bandettini (2008). Representational similarity analysis. Frontiers
#    in Systems Neuroscience 2. https://doi.org/10.3389/neuro.06.004.2008
