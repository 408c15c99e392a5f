"""What the judged rows say about an embedding."""

from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skperco import neighbor_recall_score, perception_coherence_score

COHERENCE, RECALL, SECONDS = "coherence", "recall@10", "fit seconds"
_NEIGHBORS = (1, 10, 100)
_VOTERS = 10
KNN_ACCURACY = f"{_VOTERS}-NN accuracy"


def judge(case, embed):
    """Figures of an embedding, by name."""
    judged = embed(case.judged.X)
    pair = case.judged.teacher, judged
    figures = {COHERENCE: perception_coherence_score(*pair, metric=case.metric)}
    for k in _NEIGHBORS:
        if k < len(judged):
            figures[f"recall@{k}"] = neighbor_recall_score(*pair, n_neighbors=k, metric=case.metric)
    if case.fit.labels is not None:
        fitted = embed(case.fit.X)
        for name, classifier in _classifiers(case.metric).items():
            classifier.fit(fitted, case.fit.labels)
            figures[name] = classifier.score(judged, case.judged.labels)
    return figures


def _classifiers(metric):
    """By name; the logistic regression sees columns of one size, whatever the method's scale."""
    return {
        KNN_ACCURACY: KNeighborsClassifier(_VOTERS, metric=metric),
        "logistic accuracy": make_pipeline(
            StandardScaler(), LogisticRegression(max_iter=1000, tol=1e-3)
        ),
    }
