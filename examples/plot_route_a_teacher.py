"""
Pass a teacher to a pipeline by metadata routing
================================================

A text classifier with TF-IDF features can benefit from a neural network that is available only for
the training texts. :class:`~skperco.CoherenceDistiller`, between the features and the classifier,
learns to approximate the network's embeddings, its teacher. The labels are the ``y`` of the
pipeline; scikit-learn's metadata routing passes ``teacher_embeddings`` through cross-validation and
pipeline to the distiller. New texts do not need the network.
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
# The texts are definitions from WordNet, which has 45 categories. The teacher is all-MiniLM-L6-v2,
# whose embeddings are part of the data set.

glosses = load_wordnet_glosses()
train_text, test_text, train_category, test_category, train_teacher, test_teacher = (
    train_test_split(glosses.text, glosses.target, glosses.data, test_size=3000, random_state=0)
)
print(f"{len(train_text):,} texts for training, {len(test_text):,} for testing")


def words():
    return TfidfVectorizer(sublinear_tf=True, min_df=3, dtype=np.float32)


def classifier():
    return LogisticRegression(C=5, max_iter=1000)


# %%
# Two pipelines reduce the dimensions of the TF-IDF vectors: one by a truncated SVD, the other by
# the distiller, which requests ``teacher_embeddings``. Without the request, scikit-learn raises an
# error. Cross-validation splits the teacher's embeddings as it splits the texts.
#
# With ``max_iter=0`` the student is its initialization, a ridge regression, which is fast. The
# folds are not stratified, because some categories have fewer texts than there are folds.

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
header = row("reduced by", "dimensions", "validation accuracy")
print(f"\n{header}\n{'-' * len(header)}")
for name, search in (("TruncatedSVD", by_svd), ("CoherenceDistiller", by_student)):
    for size, accuracy in zip(SIZES, search.cv_results_["mean_test_score"], strict=True):
        print(row(name, size, f"{accuracy:.3f}"))

# %%
# Does the classifier benefit from training the student after its initialization? Here it takes only
# 10 steps. A clone keeps the metadata request.

with config_context(enable_metadata_routing=True):
    trained = clone(by_student.best_estimator_).set_params(coherencedistiller__max_iter=10)
    trained.fit(train_text, train_category, teacher_embeddings=train_teacher)

# %%
# Accuracy on the test set. Prediction does not need the teacher. For comparison, there is a
# classifier of the full TF-IDF vectors, and one of the teacher's embeddings, which needs the
# network.

all_words = make_pipeline(words(), classifier()).fit(train_text, train_category)
models = {
    "TruncatedSVD": by_svd.best_estimator_,
    "student, 0 steps": by_student.best_estimator_,
    "student, 10 steps": trained,
    "full TF-IDF": all_words,
}
results = {
    name: (model[-1].n_features_in_, model.score(test_text, test_category))
    for name, model in models.items()
}
by_teacher = classifier().fit(train_teacher, train_category)
results["teacher"] = (train_teacher.shape[1], by_teacher.score(test_teacher, test_category))

row = "{:<20} {:>10} {:>10}".format
header = row("features", "dimensions", "accuracy")
print(f"\n{header}\n{'-' * len(header)}")
for name, (size, accuracy) in results.items():
    print(row(name, size, f"{accuracy:.3f}"))

# %%
# With the same number of dimensions, the student gives a higher accuracy than the truncated SVD,
# since it uses the teacher's information about which words are similar. A classifier of the full
# TF-IDF vectors is at least as accurate and needs no teacher. Ten training steps make no difference
# to this classifier. The embeddings of the teacher are much better than all features made from
# words.

figure, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
labels = [f"{name}\n{size} dimensions" for name, (size, _) in results.items()]
colors = ["#999999", "#0072B2", "#0072B2", "#999999", "#999999"]
accuracies = [accuracy for _, accuracy in results.values()]
ax.bar_label(ax.barh(labels, accuracies, color=colors, height=0.6), fmt="%.3f", padding=3)
ax.set_xlabel("test accuracy")
ax.spines[["top", "right"]].set_visible(False)
ax.margins(x=0.12)
ax.invert_yaxis()
ax.set_title("Accuracy of a text classifier by its features")
plt.show()
