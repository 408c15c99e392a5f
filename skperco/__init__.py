"""Small embeddings that keep the ranking of dissimilarities of a large teacher."""

from skperco.codes._quantizer import CoherenceQuantizer
from skperco.dissimilarity._dense import pairwise_dissimilarity
from skperco.distiller import CoherenceDistiller
from skperco.io._checkpoint import Checkpoint
from skperco.losses import PerceptionCoherenceLoss
from skperco.metrics._confidence import perception_coherence_interval, perception_coherence_test
from skperco.metrics._curve import coherence_curve
from skperco.metrics._displays import CoherenceCurveDisplay, CoherenceMatrixDisplay
from skperco.metrics._pairwise import pairwise_perception_coherence
from skperco.metrics._scorer import PerceptionCoherenceScorer
from skperco.metrics._scores import (
    neighbor_recall_score,
    perception_coherence_samples,
    perception_coherence_score,
)
from skperco.ranking._percentile import percentile_rank, soft_percentile_rank
from skperco.utils._mkl import warm_up
from skperco.utils._show_versions import show_versions

__version__ = "0.1.0"

warm_up()

__all__ = [
    "Checkpoint",
    "CoherenceCurveDisplay",
    "CoherenceDistiller",
    "CoherenceMatrixDisplay",
    "CoherenceQuantizer",
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
