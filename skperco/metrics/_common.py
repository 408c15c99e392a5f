"""Functions that several scores use."""

import numpy as np
import torch

from skperco.dissimilarity._dense import check_metric
from skperco.metrics._anchor_blocks import Views


def pair_of_views(teacher, student, metric, teacher_metric, sample_weight, device):
    """Views of a teacher and a student."""
    teacher_metric = metric if teacher_metric is None else teacher_metric
    check_metric(metric)
    check_metric(teacher_metric, "teacher_metric")
    representations = {"teacher": (teacher, teacher_metric), "student": (student, metric)}
    return Views(representations, sample_weight, device)


def mean_of_defined(values, weights):
    """Weighted mean of the values that are not nan; nan if there are none."""
    defined = ~np.isnan(values)
    return np.average(values[defined], weights=weights[defined]) if defined.any() else np.nan


def gather(results):
    """Values of all anchors in their order, from those of the blocks."""
    places, values = zip(*results, strict=True)
    values = torch.cat(values).cpu().numpy()
    gathered = np.empty_like(values)
    gathered[np.concatenate(places)] = values
    return gathered


def neighbor_shares(dissimilarities, n_neighbors, rtol=0.0):
    """1 for the k nearest of each row, 0 for the others; ties at the k-th place share it."""
    # Not kthvalue, which raises on CUDA where PyTorch is set to be deterministic.
    farthest = dissimilarities.topk(n_neighbors, dim=1, largest=False).values[:, -1:]
    inside = dissimilarities < farthest * (1 - rtol)
    tied = (dissimilarities <= farthest * (1 + rtol)) & ~inside
    left = n_neighbors - inside.sum(1, keepdim=True)
    return inside + tied * (left / tied.sum(1, keepdim=True).double())
