"""
Route a teacher through a pipeline
==================================

A classifier of texts that sees words alone can still profit from a neural network: between the
words and the classifier, :class:`~skperco.CoherenceDistiller` makes of the words what the network,
its teacher, makes of the texts, as well as words can tell. The labels are the ``y`` of the
pipeline; the teacher's embeddings come by name, and scikit-learn's metadata routing takes them
through pipeline and cross-validation to the student. New texts need no network.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn import config_context
from sklearn.base import clone
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, train_test_split
from sklearn.pipeline import make_pipeline

from skperco import CoherenceDistiller
from skperco.datasets import load_wordnet_glosses

# %%
# The texts are what WordNet says about the senses of words, to be sorted into its 45 categories.
# The teacher is all-MiniLM-L6-v2, whose embeddings come with the texts.

glosses = load_wordnet_glosses()
train_text, test_text, train_category, test_category, train_teacher, test_teacher = (
    train_test_split(glosses.text, glosses.target, glosses.data, test_size=3000, random_state=0)
)
print(f"{len(train_text):,} texts to fit, {len(test_text):,} to judge by")


def words():
    return TfidfVectorizer(sublinear_tf=True, min_df=3, dtype=np.float32)


def classifier():
    return LogisticRegression(C=5, max_iter=1000)


# %%
# Two pipelines make few dimensions of many words: one by a singular value decomposition, which
# knows the words alone, one by the student, which requests its teacher. Without the request
# scikit-learn would refuse to fit, and not leave the teacher out in silence. Cross-validation
# splits the teacher's embeddings as it splits the texts, so that the student learns from those of
# the other half only.
#
# With ``max_iter=0`` the student keeps the closed form that it starts from, a regression, which is
# quick. The folds are not stratified, for some categories have fewer texts than there are folds.

SIZES = (16, 32, 64)
folds = KFold(2, shuffle=True, random_state=0)

with config_context(enable_metadata_routing=True):
    student = CoherenceDistiller(max_iter=0, random_state=0)
    student.set_fit_request(teacher_embeddings=True)
    by_student = GridSearchCV(
        make_pipeline(words(), student, classifier()),
        {"coherencedistiller__n_components": SIZES},
        cv=folds,
    )
    by_student.fit(train_text, train_category, teacher_embeddings=train_teacher)

by_svd = GridSearchCV(
    make_pipeline(words(), TruncatedSVD(random_state=0), classifier()),
    {"truncatedsvd__n_components": SIZES},
    cv=folds,
)
by_svd.fit(train_text, train_category)

row = "{:<20} {:>10} {:>20}".format
header = row("dimensions made by", "dimensions", "accuracy, held out")
print(f"\n{header}\n{'-' * len(header)}")
for name, search in (("TruncatedSVD", by_svd), ("CoherenceDistiller", by_student)):
    for size, accuracy in zip(SIZES, search.cv_results_["mean_test_score"], strict=True):
        print(row(name, size, f"{accuracy:.3f}"))

# %%
# Does the classifier profit if the student goes on from the closed form? Ten steps are few, but a
# first answer. A clone keeps the request.

with config_context(enable_metadata_routing=True):
    refined = clone(by_student.best_estimator_).set_params(coherencedistiller__max_iter=10)
    refined.fit(train_text, train_category, teacher_embeddings=train_teacher)

# %%
# The judgment, by texts that nothing here has seen. None of the pipelines needs the teacher now.
# For comparison: a classifier of all the words, and one of the teacher's embeddings, which is what
# could be had with the network at hand.

all_words = make_pipeline(words(), classifier()).fit(train_text, train_category)
models = {
    "TruncatedSVD": by_svd.best_estimator_,
    "student, closed form": by_student.best_estimator_,
    "student, 10 steps": refined,
    "all words": all_words,
}
results = {
    name: (model[-1].n_features_in_, model.score(test_text, test_category))
    for name, model in models.items()
}
by_teacher = classifier().fit(train_teacher, train_category)
results["teacher itself"] = (train_teacher.shape[1], by_teacher.score(test_teacher, test_category))

row = "{:<20} {:>10} {:>10}".format
header = row("classified", "dimensions", "accuracy")
print(f"\n{header}\n{'-' * len(header)}")
for name, (size, accuracy) in results.items():
    print(row(name, size, f"{accuracy:.3f}"))

# %%
# With as many dimensions, the student serves the classifier better than the decomposition does.
# That is no wonder, for it was told more: the teacher shows which words go together. Where the
# classifier can have all the words, it needs no student: it does no worse with them, and without a
# teacher. Ten steps make no difference to this classifier. And words remain words: the teacher
# itself is far ahead.

figure, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
labels = [f"{name}\n{size} dimensions" for name, (size, _) in results.items()]
colors = ["#999999", "#0072B2", "#0072B2", "#999999", "#999999"]
accuracies = [accuracy for _, accuracy in results.values()]
ax.bar_label(ax.barh(labels, accuracies, color=colors, height=0.6), fmt="%.3f", padding=3)
ax.set_xlabel("accuracy, on unseen texts")
ax.spines[["top", "right"]].set_visible(False)
ax.margins(x=0.12)
ax.invert_yaxis()
ax.set_title("What a classifier makes of the words")
plt.show()
