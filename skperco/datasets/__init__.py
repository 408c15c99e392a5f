"""The small real data that ships with the package; loading it needs no network."""

from skperco.datasets._wordnet import load_wordnet_glosses

__all__ = ["load_wordnet_glosses"]
