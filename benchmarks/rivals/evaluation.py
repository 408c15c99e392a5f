"""Scores of an embedding on test rows."""

from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skperco import neighbor_recall_score, perception_coherence_score

COHERENCE, RECALL, SECONDS = "coherence", "recall@10", "fit seconds"
_RECALL_NEIGHBORS = (1, 10, 100)
_CLASSIFIER_NEIGHBORS = 10
KNN_ACCURACY = f"{_CLASSIFIER_NEIGHBORS}-NN accuracy"


def evaluate(case, embed):
    """Scores of an embedding by name: coherence, recall and, with labels, accuracies."""
    student = embed(case.test.X)
    pair = case.test.teacher, student
    scores = {COHERENCE: perception_coherence_score(*pair, metric=case.metric)}
    for k in _RECALL_NEIGHBORS:
        if k < len(student):
            scores[f"recall@{k}"] = neighbor_recall_score(*pair, n_neighbors=k, metric=case.metric)
    if case.fit.labels is not None:
        fitted = embed(case.fit.X)
        for name, classifier in _classifiers(case.metric).items():
            classifier.fit(fitted, case.fit.labels)
            scores[name] = classifier.score(student, case.test.labels)
    return scores


def validation_score(teacher, student, **metrics):
    """Coherence plus recall, by which hyperparameters are chosen."""
    scores = perception_coherence_score, neighbor_recall_score
    return sum(score(teacher, student, **metrics) for score in scores)


def _classifiers(metric):
    """Classifiers by name; features are standardized for the logistic regression."""
    return {
        KNN_ACCURACY: KNeighborsClassifier(_CLASSIFIER_NEIGHBORS, metric=metric),
        "logistic accuracy": make_pipeline(
            StandardScaler(), LogisticRegression(max_iter=1000, tol=1e-3)
        ),
    }
