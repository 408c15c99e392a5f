"""Losses of representation transfer without labels, each written from its formula.

Every loss takes student's and teacher's embeddings of one batch, whose numbers of dimensions may
differ, and returns a tensor of shape (). All except the contrastive loss are 0 for a student that
equals its teacher.
"""

import torch
from torch.nn import functional

from skperco.dissimilarity._dense import without_diagonal

_TEMPERATURE = 0.04
_CONTRAST_TEMPERATURE = 0.07
_CONTRAST_COMPONENTS = 128
_TOP_K = 10
# Below this distance two rows count as equal, and the direction between them is undefined.
_SMALLEST_DISTANCE = 1e-3
_SMALLEST_PROBABILITY = 1e-12


def rkd_distance(student, teacher):
    """RKD-D: Huber loss of the distances, each side divided by its mean distance.

    W. Park, D. Kim, Y. Lu, M. Cho, "Relational knowledge distillation", CVPR 2019, section
    3.2.1. https://arxiv.org/abs/1904.05068
    """
    return functional.huber_loss(_relative_distances(student), _relative_distances(teacher))


def _relative_distances(rows):
    distances = without_diagonal(torch.cdist(rows, rows))
    return distances / distances.mean()


def rkd_angle(student, teacher):
    """RKD-A: Huber loss of the cosines of the angles in all triangles.

    Park et al. 2019, section 3.2.2. The number of triangles is cubic in the number of rows, so
    only the first n ** (2 / 3) rows are used, which have about as many triangles as the n rows of
    the batch have pairs.
    """
    n_rows = max(3, round(len(student) ** (2 / 3)))
    return functional.huber_loss(_angles(student[:n_rows]), _angles(teacher[:n_rows]))


def rkd(student, teacher):
    """RKD-DA: RKD-D plus two times RKD-A.

    Park et al. 2019, section 4.1.
    """
    return rkd_distance(student, teacher) + 2 * rkd_angle(student, teacher)


def _angles(rows):
    """Cosines of the angles at each row between the differences to any two other rows."""
    differences = without_diagonal(rows - rows[:, None])
    directions = functional.normalize(differences, dim=2, eps=_SMALLEST_DISTANCE)
    cosines = directions @ directions.mT
    return torch.stack([without_diagonal(of_one_row) for of_one_row in cosines])


def pkt(student, teacher):
    """PKT: divergence of conditional probability distributions over the other rows.

    N. Passalis, A. Tefas, "Learning deep representations with probabilistic knowledge
    transfer", ECCV 2018, with the cosine kernel. https://arxiv.org/abs/1803.10837
    """
    return _divergence(_cosine_kernel(teacher).log(), _cosine_kernel(student).log())


def _cosine_kernel(rows):
    kernel = ((1 + _cosines(rows)) / 2).clamp(min=_SMALLEST_PROBABILITY)
    return kernel / kernel.sum(1, keepdim=True)


def similarity_preserving(student, teacher):
    """SP: squared difference of the Gram matrices after L2 normalization of their rows.

    F. Tung, G. Mori, "Similarity-preserving knowledge distillation", ICCV 2019.
    https://arxiv.org/abs/1907.09682
    """
    return functional.mse_loss(_unit_gram(student), _unit_gram(teacher))


def _unit_gram(rows):
    return functional.normalize(rows @ rows.T, dim=1)


def softmax_similarity(student, teacher):
    """Divergence of softmax similarities to the other rows of the batch.

    S. Abbasi Koohpayegani, A. Tejankar, H. Pirsiavash, "CompRess: Self-supervised learning by
    compressing representations", NeurIPS 2020, https://arxiv.org/abs/2010.14713; and, with a
    queue of keys and two temperatures, Z. Fang et al., "SEED: Self-supervised distillation for
    visual representation", ICLR 2021, https://arxiv.org/abs/2101.04731. Here the batch replaces
    memory bank and queue, and both sides have the same temperature.
    """
    return _divergence(_log_softmax_similarities(teacher), _log_softmax_similarities(student))


def _log_softmax_similarities(rows):
    return (_cosines(rows) / _TEMPERATURE).log_softmax(1)


def pairwise_similarity(student, teacher):
    """Mean absolute difference of similarities: of all pairs, plus of the teacher's top k.

    J. Yoon, R. Sinha, S. O. Arik, T. Pfister, "Matryoshka-Adaptor: Unsupervised and supervised
    tuning for smaller embedding dimensions", EMNLP 2024, https://arxiv.org/abs/2407.20243: the
    pairwise and the top-k loss of the unsupervised form, at one number of dimensions. Its third
    term keeps adapted embeddings near the original ones, and is undefined for fewer dimensions.
    """
    target = _cosines(teacher)
    differences = (_cosines(student) - target).abs()
    nearest = target.topk(min(_TOP_K, target.shape[1]), dim=1).indices
    return differences.mean() + differences.gather(1, nearest).mean()


class Regression(torch.nn.Module):
    """Regression onto the teacher's rows, with a linear projector that is trained jointly.

    A. Romero et al., "FitNets: Hints for thin deep nets", ICLR 2015,
    https://arxiv.org/abs/1412.6550.

    Parameters
    ----------
    error : callable
        `squared_error` or `cosine_error`.
    student, teacher : torch.Tensor
        Embeddings before training.
    fitted : bool, default=True
        Whether the projector is initialized by least squares, which suits a student that is not
        random, or as a random orthogonal matrix.
    """

    def __init__(self, error, student, teacher, *, fitted=True):
        super().__init__()
        self.error = error
        if fitted:
            projector = torch.linalg.lstsq(student, teacher).solution
        else:
            projector = torch.empty(student.shape[1], teacher.shape[1])
            torch.nn.init.orthogonal_(projector)
        self.projector = torch.nn.Parameter(projector)

    def forward(self, student, teacher):
        return self.error(student @ self.projector, teacher)


def squared_error(prediction, teacher):
    return functional.mse_loss(prediction, teacher)


def cosine_error(prediction, teacher):
    return (1 - functional.cosine_similarity(prediction, teacher)).mean()


class ContrastiveLoss(torch.nn.Module):
    """Contrastive loss: classification of the teacher's row that belongs to a student's row.

    Both sides are projected by linear maps, which are trained jointly, and normalized.

    After Y. Tian, D. Krishnan, P. Isola, "Contrastive representation distillation", ICLR 2020,
    https://arxiv.org/abs/1910.10699; the negatives are the other rows of the batch in place of a
    memory bank.

    Parameters
    ----------
    student, teacher : torch.Tensor
        Embeddings, of which only the numbers of dimensions are used.
    """

    def __init__(self, student, teacher):
        super().__init__()
        self.maps = torch.nn.ModuleList(
            torch.nn.Linear(rows.shape[1], _CONTRAST_COMPONENTS) for rows in (student, teacher)
        )

    def forward(self, student, teacher):
        pairs = zip(self.maps, (student, teacher), strict=True)
        left, right = (functional.normalize(project(rows), dim=1) for project, rows in pairs)
        logits = left @ right.T / _CONTRAST_TEMPERATURE
        target = torch.arange(len(logits), device=logits.device)
        losses = [functional.cross_entropy(scores, target) for scores in (logits, logits.T)]
        return sum(losses) / 2


def _cosines(rows):
    """Cosine similarity of each row to the others."""
    directions = functional.normalize(rows, dim=1)
    return without_diagonal(directions @ directions.T)


def _divergence(log_target, log_input):
    """Kullback-Leibler divergence of the distributions of the rows, averaged."""
    return functional.kl_div(log_input, log_target, reduction="batchmean", log_target=True)
