"""The two terms of the refinement's loss: which pairs they draw, and what they say of them."""

import torch

from skperco.losses import rank_correlation_loss, rank_loss
from skperco.ranking import percentile_rank

# References that one step draws from the list of an anchor's nearest.
_NEAR_REFERENCES = 10
# A loss below this counts as zero: its logarithm must not outweigh the other loss.
_SMALLEST_LOSS = 1e-6


class FarTerm:
    """Ranks among random references, the same for all anchors.

    Parameters
    ----------
    teacher : Teacher
    comparison : Comparison
        Of the student's images.
    pair : callable
        From the numbers of anchors to those of some of them and of their references.
    """

    def __init__(self, teacher, comparison, pair):
        self.teacher = teacher
        self.comparison = comparison
        self.pair = pair

    def draw(self, anchors):
        """Numbers of anchors and references, and the ranks that these should have."""
        anchors, references = self.pair(anchors)
        return (anchors, references), percentile_rank(self.teacher.order(anchors, references))

    def __call__(self, images, places, target):
        """Logarithm of the loss of what has been drawn, by images and where each is."""
        drawn = images.index_select(0, torch.cat(places))
        seen = self.comparison.table(*drawn.split([len(part) for part in places]))
        return _log(rank_loss(seen, target, exact=False))


class NearTerm:
    """Log ranks among references from each anchor's own neighbourhood.

    Parameters
    ----------
    lists : tuple of torch.Tensor
        Numbers and log ranks of the nearest of all rows, as :meth:`Teacher.nearest` gives them.
    comparison : Comparison
        Of the student's images.
    generator : torch.Generator
        On the CPU.
    """

    def __init__(self, lists, comparison, generator):
        self.neighbors, self.log_ranks = lists
        self.comparison = comparison
        self.generator = generator

    def draw(self, anchors):
        """Numbers of anchors and of what each has listed, and the log ranks of these."""
        n_listed = self.neighbors.shape[1]
        shape = (len(anchors), min(_NEAR_REFERENCES, n_listed))
        places = torch.randint(n_listed, shape, generator=self.generator).to(anchors.device)
        places += n_listed * anchors[:, None]
        return (anchors, self.neighbors.take(places)), self.log_ranks.take(places)

    def __call__(self, images, places, target):
        """Logarithm of the loss of what has been drawn, by images and where each is."""
        return _log(rank_correlation_loss(self.comparison.listed(images, *places), target))


def _log(losses):
    return losses.mean().clamp(min=_SMALLEST_LOSS).log()
