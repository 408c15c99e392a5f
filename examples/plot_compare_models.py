"""
Compare representations
=======================

Several models embed the same dictionary glosses. Which of them agree, and on what? This example
compares perception coherence with two well-known measures: linear CKA [1]_, which compares the
centered Gram matrices, and representational similarity analysis [2]_ (RSA), which correlates the
two dissimilarity matrices. It shows what each of the three measures and what it ignores.
"""

# %%
# The models
# ----------
# A sentence encoder, lower-dimensional versions of it, and latent semantic analysis of words and of
# letters. The last one, *warped*, is a kernel map of the encoder: its distances are a nonlinear,
# increasing function of the encoder's, so that all rankings are the same.

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
    """Latent semantic analysis: TF-IDF of words or letters, then a truncated SVD."""
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
# Pairwise coherence
# ------------------
# The display orders the models by hierarchical clustering, so that models that agree are neighbors.
# Without ties, one minus the coherence obeys the triangle inequality, as clustering assumes.

CoherenceMatrixDisplay.from_representations(models)
plt.show()

# %%
# Three measures of agreement with MiniLM
# ---------------------------------------


def linear_cka(first, second):
    """Centered kernel alignment with linear kernels."""
    first, second = first - first.mean(0), second - second.mean(0)
    cross = np.linalg.norm(first.T @ second) ** 2
    return cross / np.linalg.norm(first.T @ first) / np.linalg.norm(second.T @ second)


def rsa(first, second, correlation):
    """Correlation of the cosine dissimilarities of all pairs of samples."""
    pairs = np.triu_indices(len(first), 1)
    tables = []
    for model in (first, second):
        unit = model / np.maximum(np.linalg.norm(model, axis=1, keepdims=True), 1e-12)
        tables.append(1 - (unit @ unit.T)[pairs])
    return correlation(*tables)


def pearson(first, second):
    """Pearson correlation, which depends on the values."""
    return np.corrcoef(first, second)[0, 1]


def spearman(first, second):
    """Spearman correlation, which depends only on the ranks."""
    return spearmanr(first, second).statistic


def report(teacher, students):
    """Print all measures for each student."""
    print(f"{'':16}coherence (95% interval)   nearest  CKA   RSA: Pearson  Spearman")
    for name, student in students.items():
        score, low, high, _ = perception_coherence_interval(teacher, student)
        near = coherence_curve(teacher, student, percentiles=[0.02]).coherences[0]
        values, ranks = (rsa(teacher, student, correlation) for correlation in (pearson, spearman))
        print(
            f"{name:16}{score:.3f} ({low:.3f} to {high:.3f})    {near:.3f}   "
            f"{linear_cka(teacher, student):.3f}        {values:.3f}     {ranks:.3f}"
        )


report(rows, models)

# %%
# The column *nearest* is the coherence among the 2% nearest references of each anchor. *Warped* has
# the rankings of the encoder, so its coherence is 1. CKA and the Pearson correlation are lower,
# because the distances differ; this matters if you compare them with a threshold.

# %%
# Coherence among the nearest references
# --------------------------------------
# The curve restricts the references of each anchor to its nearest ones, from a few percent to all.

shown = ["distilled to 32", "PCA to 32", "PCA to 4", "words", "letters"]
CoherenceCurveDisplay.from_embeddings(rows, {name: models[name] for name in shown})
plt.show()

# %%
# Two separate clusters
# ---------------------
# Embeddings of two modalities, such as texts and images, often form two distant clusters. Here one
# more feature separates nouns from other words, in the encoder and in the model of letters. CKA and
# the Pearson correlation are now close to 1, because the distance between the clusters dominates
# them. Coherence rises less: for a pair of references in different clusters the order is given by
# the clusters, for a pair in the same cluster it is as uncertain as before. Among the nearest
# references, which are in the cluster of the anchor, coherence hardly changes.

is_noun = np.char.startswith(glosses.target_names[glosses.target[:1000]].astype(str), "noun")
gap = np.where(is_noun, 2.0, -2.0)[:, None]
letters = models["letters"] / np.linalg.norm(models["letters"], axis=1, keepdims=True)
report(np.hstack([rows, gap]), {"letters": np.hstack([letters, gap])})

# %%
# Is the difference between two students significant?
# ---------------------------------------------------

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
