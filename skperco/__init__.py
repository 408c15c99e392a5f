"""Small embeddings that keep the order of near and far that a large teacher sees."""

from skperco._mkl import warm_up
from skperco.agreement import pairwise_perception_coherence
from skperco.curves import coherence_curve
from skperco.dissimilarity import pairwise_dissimilarity
from skperco.distiller import CoherenceDistiller
from skperco.inference import perception_coherence_interval, perception_coherence_test
from skperco.losses import PerceptionCoherenceLoss
from skperco.metrics import (
    neighbor_recall_score,
    perception_coherence_samples,
    perception_coherence_score,
)
from skperco.persistence import Checkpoint
from skperco.plotting import CoherenceCurveDisplay, CoherenceMatrixDisplay
from skperco.ranking import percentile_rank, soft_percentile_rank
from skperco.scoring import PerceptionCoherenceScorer
from skperco.versions import show_versions

__version__ = "0.1.0"

warm_up()

__all__ = [
    "Checkpoint",
    "CoherenceCurveDisplay",
    "CoherenceDistiller",
    "CoherenceMatrixDisplay",
    "PerceptionCoherenceLoss",
    "PerceptionCoherenceScorer",
    "coherence_curve",
    "neighbor_recall_score",
    "pairwise_dissimilarity",
    "pairwise_perception_coherence",
    "percentile_rank",
    "perception_coherence_interval",
    "perception_coherence_samples",
    "perception_coherence_score",
    "perception_coherence_test",
    "show_versions",
    "soft_percentile_rank",
]
