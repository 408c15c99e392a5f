"""Transfer losses that see no labels, each written from its formula.

Every loss takes the rows of one batch as the student and the teacher see them, of any two
widths, and returns a tensor of shape (). But for the contrast, it is 0 for a student that equals
its teacher.
"""

import torch
from torch.nn import functional

from skperco.dissimilarity._dense import without_diagonal

_TEMPERATURE = 0.04
_CONTRAST_TEMPERATURE = 0.07
_CONTRAST_COMPONENTS = 128
_NEAREST = 10
# Two rows that coincide have no direction from one to the other.
_SHORTEST = 1e-3
_SMALLEST_PROBABILITY = 1e-12


def rkd_distance(student, teacher):
    """RKD-D: Huber loss of the distances, each side in units of its mean distance.

    W. Park, D. Kim, Y. Lu, M. Cho, "Relational knowledge distillation", CVPR 2019, section
    3.2.1. https://arxiv.org/abs/1904.05068
    """
    return functional.huber_loss(_relative_distances(student), _relative_distances(teacher))


def _relative_distances(rows):
    distances = without_diagonal(torch.cdist(rows, rows))
    return distances / distances.mean()


def rkd_angle(student, teacher):
    """RKD-A: Huber loss of the cosines of the angles in all triangles.

    Park et al. 2019, section 3.2.2. Triangles are cubic in the rows: of a batch, as many of the
    first rows are taken as have about as many triangles as the batch has pairs.
    """
    few = max(3, round(len(student) ** (2 / 3)))
    return functional.huber_loss(_angles(student[:few]), _angles(teacher[:few]))


def rkd(student, teacher):
    """RKD-DA: distances, and angles twice.

    Park et al. 2019, section 4.1.
    """
    return rkd_distance(student, teacher) + 2 * rkd_angle(student, teacher)


def _angles(rows):
    """Cosines of the angles at each row, between the ways to any two others."""
    ways = rows - rows[:, None]
    ways = functional.normalize(without_diagonal(ways), dim=2, eps=_SHORTEST)
    cosines = ways @ ways.mT
    return torch.stack([without_diagonal(at_one_row) for at_one_row in cosines])


def pkt(student, teacher):
    """PKT: divergence of the probabilities with which rows pick each other as neighbors.

    N. Passalis, A. Tefas, "Learning deep representations with probabilistic knowledge
    transfer", ECCV 2018, with the cosine kernel. https://arxiv.org/abs/1803.10837
    """
    return _divergence(_cosine_kernel(teacher).log(), _cosine_kernel(student).log())


def _cosine_kernel(rows):
    kernel = ((1 + _cosines(rows)) / 2).clamp(min=_SMALLEST_PROBABILITY)
    return kernel / kernel.sum(1, keepdim=True)


def similarity_preserving(student, teacher):
    """SP: squared difference of the tables of inner products, their rows scaled to unit norm.

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
    visual representation", ICLR 2021, https://arxiv.org/abs/2101.04731. Here the batch stands
    for memory bank and queue, and both sides have one temperature.
    """
    return _divergence(_log_softmax_similarities(teacher), _log_softmax_similarities(student))


def _log_softmax_similarities(rows):
    return (_cosines(rows) / _TEMPERATURE).log_softmax(1)


def pairwise_similarity(student, teacher):
    """Absolute difference of the similarities: of all pairs, plus of the teacher's nearest.

    J. Yoon, R. Sinha, S. O. Arik, T. Pfister, "Matryoshka-Adaptor: Unsupervised and supervised
    tuning for smaller embedding dimensions", EMNLP 2024, https://arxiv.org/abs/2407.20243: the
    pairwise and the top-k loss of the unsupervised form, at one dimension. Its third term keeps
    adapted embeddings near the original ones, and has no meaning for fewer dimensions.
    """
    wanted = _cosines(teacher)
    differences = (_cosines(student) - wanted).abs()
    nearest = wanted.topk(min(_NEAREST, wanted.shape[1]), dim=1).indices
    return differences.mean() + differences.gather(1, nearest).mean()


class Regression(torch.nn.Module):
    """Regression of the teacher's rows, through a linear projector that is trained along.

    A. Romero et al., "FitNets: Hints for thin deep nets", ICLR 2015,
    https://arxiv.org/abs/1412.6550.

    Parameters
    ----------
    error : callable
        `squared_error` or `cosine_error`.
    student, teacher : torch.Tensor
        Rows to start from.
    fitted : bool, default=True
        Whether the projector starts as the least-squares fit, which suits a student that knows
        something already, or is drawn from the orthogonal ones.
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


class Contrast(torch.nn.Module):
    """Contrast: of the teacher's rows in the batch, which one is the student's?

    Both sides go through linear maps, which are trained along, to directions in a common space.
    After Y. Tian, D. Krishnan, P. Isola, "Contrastive representation distillation", ICLR 2020,
    https://arxiv.org/abs/1910.10699; the negatives are the other rows of the batch, in place of
    a memory of all rows.

    Parameters
    ----------
    student, teacher : torch.Tensor
        Rows whose widths the maps have.
    """

    def __init__(self, student, teacher):
        super().__init__()
        self.maps = torch.nn.ModuleList(
            torch.nn.Linear(rows.shape[1], _CONTRAST_COMPONENTS) for rows in (student, teacher)
        )

    def forward(self, student, teacher):
        rows = zip(self.maps, (student, teacher), strict=True)
        left, right = (functional.normalize(one(of_one), dim=1) for one, of_one in rows)
        logits = left @ right.T / _CONTRAST_TEMPERATURE
        own = torch.arange(len(logits), device=logits.device)
        return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


def _cosines(rows):
    """Cosine similarity of each row to the others."""
    directions = functional.normalize(rows, dim=1)
    return without_diagonal(directions @ directions.T)


def _divergence(log_wanted, log_given):
    """Kullback-Leibler divergence of the rows' distributions, their mean."""
    return functional.kl_div(log_given, log_wanted, reduction="batchmean", log_target=True)
