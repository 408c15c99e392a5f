"""Codes of embeddings: those of other libraries, and those of skperco.

Each method has settings for a budget of bytes, and a function that fits one setting to rows. The
norms and factors that a library stores for each row count as its bytes, tables shared by all rows
do not. Embeddings have unit norm under cosine. Methods that can code fewer dimensions than there
are get truncated embeddings too: projections on leading singular vectors.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from sklearn.decomposition import PCA
from sklearn.metrics import pairwise_distances
from sklearn.utils.extmath import randomized_svd

from skperco import CoherenceQuantizer

FLOATS, FAISS, OTHERS, SKPERCO = "reduced dimensions", "FAISS", "other libraries", "skperco"
DEFAULT = "CoherenceQuantizer"
_SEED = 0
# Beyond these numbers of bytes, FAISS takes many minutes to train these codes.
_MAX_RQ_BYTES = 32
_MAX_LSQ_BYTES = 8
_MAX_PRQ_BYTES = 128
_BYTES_OF_A_GROUP = 8
# Numbers of dimensions to try, for each byte; the last one stands for all dimensions.
_RATIOS = (3, 6, np.inf)


class Decoded(NamedTuple):
    """A code whose rows can be decoded.

    `embed` maps rows to queries without quantization, and `decode` maps rows to decoded rows in the
    same space.
    """

    n_bytes: float
    embed: Callable
    decode: Callable

    def distances(self, rows, chosen, metric):
        """Dissimilarities of the chosen rows, exact and coded, and all coded rows."""
        decoded = self.decode(rows)
        queries = self.embed(rows[chosen]), decoded[chosen]
        return [pairwise_distances(one, decoded, metric=metric) for one in queries]


class Searched(NamedTuple):
    """A code that a library only searches: `similarities` of queries and all rows."""

    n_bytes: float
    similarities: Callable

    def distances(self, rows, chosen, _metric):
        """Dissimilarities of the chosen rows and all coded rows; None for coded queries."""
        similarities = self.similarities(rows, rows[chosen])
        return similarities.max() - similarities, None


class Method(NamedTuple):
    """A method: `settings` from (n_bytes, n_features), and `fit` from (rows, metric, *setting)."""

    family: str
    settings: Callable
    fit: Callable
    cosine_only: bool = False


def _projection(rows, n_components):
    """Function that projects rows on the leading singular vectors of the given rows."""
    if n_components == rows.shape[1]:
        return np.ascontiguousarray
    vectors = randomized_svd(rows, n_components, random_state=_SEED)[2].T
    return lambda rows: np.ascontiguousarray(rows @ vectors)


# Fewer dimensions in floating point or integers


def _projected(code):
    """Settings of a code with a number of values for each byte, for PCA and TruncatedSVD."""

    def settings(n_bytes, n_features):
        n_components = int(n_bytes * code.per_byte)
        return [
            (code, n_components, center)
            for center in (True, False)
            if 1 <= n_components <= n_features
        ]

    return Method(FLOATS, settings, _fit_projected)


class _Floats(NamedTuple):
    dtype: type
    per_byte: float

    def round(self, rows, _fitted):
        return rows.astype(self.dtype).astype(np.float32)


class _Integers(NamedTuple):
    """Integers between the smallest and the largest value of each dimension."""

    n_bits: int

    @property
    def per_byte(self):
        return 8 / self.n_bits

    def round(self, rows, fitted):
        low, high = fitted.min(0), fitted.max(0)
        # A constant dimension has one level, whatever the step.
        step = np.where(high > low, high - low, 1) / (2**self.n_bits - 1)
        levels = np.rint((rows - low) / step).clip(0, 2**self.n_bits - 1)
        return (low + levels * step).astype(np.float32)


def _fit_projected(rows, _metric, code, n_components, center):
    if center:
        embed = PCA(n_components, random_state=_SEED).fit(rows).transform
    else:
        embed = _projection(rows, n_components)
    fitted = embed(rows)
    return Decoded(
        n_components / code.per_byte, embed, lambda rows: code.round(embed(rows), fitted)
    )


# FAISS, without polysemous training ("np"), which takes minutes and does not change the error


def _faiss_settings(name, n_bytes, n_features, *, multiple, ratios=_RATIOS):
    """Factory strings of FAISS for numbers of dimensions that are divisible by `multiple`."""
    wanted = {int(min(ratio * n_bytes, n_features)) for ratio in ratios}
    sizes = sorted({size // multiple * multiple for size in wanted} - {0})
    return [(name.format(d=size), size, n_bytes) for size in sizes]


def _product_settings(name, ratios, n_bytes, n_features):
    name = name.format(n=n_bytes, d="{d}")
    return _faiss_settings(name, n_bytes, n_features, multiple=n_bytes, ratios=ratios)


def _additive_settings(name, most, n_bytes, n_features):
    if n_bytes > most:
        return []
    return _faiss_settings(name.format(n=n_bytes), n_bytes, n_features, multiple=1)


def _grouped_settings(n_bytes, n_features):
    """Product residual quantizers, with groups of dimensions that have eight bytes each."""
    if n_bytes % _BYTES_OF_A_GROUP or not _BYTES_OF_A_GROUP < n_bytes <= _MAX_PRQ_BYTES:
        return []
    n_groups = n_bytes // _BYTES_OF_A_GROUP
    name = f"PRQ{n_groups}x{_BYTES_OF_A_GROUP}x8"
    # Rotated at random, so that the groups have nearly the same variance.
    return [
        (f"RR{size},{name}", size, n_bytes)
        for _, size, _ in _faiss_settings(name, n_bytes, n_features, multiple=n_groups, ratios=(6,))
    ]


def _scalar_settings(n_bytes, n_features):
    return [
        (f"SQ{bits}", 8 * n_bytes // bits, n_bytes)
        for bits in (4, 6, 8)
        if 1 <= 8 * n_bytes // bits <= n_features
    ]


def _sign_settings(n_bytes, n_features):
    return [(n_bytes,)] if 8 * n_bytes <= n_features else []


def _fit_signs(rows, _metric, n_bytes):
    """Signs of the leading principal components after iterative quantization, a rotation."""
    import faiss

    rotation = faiss.ITQTransform(rows.shape[1], 8 * n_bytes, True)
    rotation.train(rows)
    return Decoded(n_bytes, rotation.apply, lambda rows: np.sign(rotation.apply(rows)))


def _fit_faiss(rows, _metric, name, n_components, n_bytes):
    import faiss

    embed = _projection(rows, n_components)
    index = faiss.index_factory(n_components, name)
    index.train(embed(rows))
    return Decoded(n_bytes, embed, lambda rows: index.sa_decode(index.sa_encode(embed(rows))))


def _rabitq_settings(n_bytes, n_features):
    """Numbers of bits, and of dimensions for which code and factors take the bytes."""
    import faiss

    settings = []
    for bits in range(1, 9):
        sizes = [
            size
            for size in range(8, n_features + 1, 8)
            if faiss.index_factory(size, f"RaBitQ{bits}").sa_code_size() <= n_bytes
        ]
        settings += [(f"RR{sizes[-1]},RaBitQ{bits}", sizes[-1])] if sizes else []
    return settings


def _fit_rabitq(rows, _metric, name, n_components):
    import faiss

    embed = _projection(rows, n_components)
    index = faiss.index_factory(n_components, name)
    index.train(embed(rows))

    def similarities(rows, queries):
        index.reset()
        index.add(embed(rows))
        distances, found = index.search(embed(queries), len(rows))
        return _in_order_of_rows(-distances, found)

    return Searched(index.sa_code_size(), similarities)


def _in_order_of_rows(values, found):
    """Search results of all rows, in the order of the rows."""
    ordered = np.empty_like(values)
    np.put_along_axis(ordered, found.astype(np.intp), values, axis=1)
    return ordered


# Other libraries


def _turbovec_settings(n_bytes, n_features):
    # A norm and a factor of four bytes each, and numbers of dimensions divisible by eight.
    sizes = [(bits, min(int((n_bytes - 8) * 8 / bits), n_features)) for bits in (2, 4)]
    return [(bits, size // 8 * 8) for bits, size in sizes if size >= 8]


def _fit_turbovec(rows, _metric, bits, n_components):
    from turbovec import TurboQuantIndex

    embed = _projection(rows, n_components)

    def similarities(rows, queries):
        index = TurboQuantIndex(n_components, bits)
        index.calibrate(embed(rows))
        index.add(embed(rows))
        scores, found = index.search(embed(queries), len(rows))
        return _in_order_of_rows(scores, found)

    return Searched(n_components * bits / 8 + 8, similarities)


def _rabitqlib_settings(n_bytes, n_features):
    # One bit and three factors, and for more bits two factors more; multiples of 64 dimensions.
    settings = []
    for bits in range(1, 9):
        factors = 12 if bits == 1 else 20
        size = min(int((n_bytes - factors) * 8 / bits), n_features) // 64 * 64
        settings += [(bits, size, factors)] if size >= 64 else []
    return settings


def _fit_rabitqlib(rows, _metric, bits, n_components, factors):
    from rabitqlib import IvfIndex

    embed = _projection(rows, n_components)
    center = embed(rows).mean(0, keepdims=True)

    def similarities(rows, queries):
        index = IvfIndex(n_components, len(rows), 1, bits, metric="ip")
        lists = np.zeros(len(rows), dtype=np.uint32)
        index.build(embed(rows), center, lists)
        found, distances = index.search(embed(queries), len(rows), 1)[:2]
        return _in_order_of_rows(-np.asarray(distances), np.asarray(found))

    return Searched(n_components * bits / 8 + factors, similarities)


def _remex_settings(n_bytes, n_features):
    # A norm of four bytes, and an even number of dimensions.
    sizes = [(bits, int((n_bytes - 4) * 8 / bits) // 2 * 2) for bits in (1, 2, 3, 4, 8)]
    return [(bits, min(size, n_features)) for bits, size in sizes if size >= 2]


def _fit_remex(rows, _metric, bits, n_components):
    from remex import Quantizer

    embed = _projection(rows, n_components)
    quantizer = Quantizer(n_components, bits, mean=embed(rows).mean(0))
    return Decoded(
        n_components * bits / 8 + 4,
        embed,
        lambda rows: quantizer.decode(quantizer.encode(embed(rows))),
    )


def _sentence_settings(n_bytes, n_features):
    """Whole embeddings, as sentence-transformers quantizes them."""
    return [
        (precision, n_features / per_byte)
        for precision, per_byte in (("int8", 1), ("ubinary", 8))
        if n_features / per_byte <= n_bytes
    ]


def _fit_sentence(rows, _metric, precision, n_bytes):
    from sentence_transformers.util.quantization import quantize_embeddings

    ranges = np.stack([rows.min(0), rows.max(0)])
    steps = (ranges[1] - ranges[0]) / 255

    def decode(rows):
        codes = quantize_embeddings(rows, precision, ranges=ranges)
        if precision == "ubinary":
            return 2 * np.unpackbits(codes, axis=1).astype(np.float32) - 1
        return ranges[0] + (codes.astype(np.float32) + 128) * steps

    return Decoded(n_bytes, lambda rows: rows, decode)


# skperco


def _ours_settings(n_bytes, n_features):
    return [(n_bytes,)] if n_bytes <= 4 * n_features else []


def _fit_ours(rows, metric, n_bytes):
    quantizer = CoherenceQuantizer(n_bytes, metric=metric, random_state=_SEED).fit(rows)
    return Decoded(n_bytes, quantizer.transform_queries, quantizer.transform)


METHODS = {
    "float32": _projected(_Floats(np.float32, 1 / 4)),
    "float16": _projected(_Floats(np.float16, 1 / 2)),
    "int8": _projected(_Integers(8)),
    "int4": _projected(_Integers(4)),
    "FAISS PQ": Method(FAISS, partial(_product_settings, "PQ{n}np", _RATIOS), _fit_faiss),
    "FAISS OPQ": Method(FAISS, partial(_product_settings, "OPQ{n}_{d},PQ{n}np", (3,)), _fit_faiss),
    "FAISS RQ": Method(FAISS, partial(_additive_settings, "RQ{n}x8", _MAX_RQ_BYTES), _fit_faiss),
    "FAISS PRQ": Method(FAISS, _grouped_settings, _fit_faiss),
    "FAISS LSQ": Method(FAISS, partial(_additive_settings, "LSQ{n}x8", _MAX_LSQ_BYTES), _fit_faiss),
    "FAISS SQ": Method(FAISS, _scalar_settings, _fit_faiss),
    "FAISS ITQ, signs": Method(FAISS, _sign_settings, _fit_signs),
    "FAISS RaBitQ": Method(FAISS, _rabitq_settings, _fit_rabitq),
    "turbovec": Method(OTHERS, _turbovec_settings, _fit_turbovec, cosine_only=True),
    "rabitqlib": Method(OTHERS, _rabitqlib_settings, _fit_rabitqlib, cosine_only=True),
    "remex": Method(OTHERS, _remex_settings, _fit_remex),
    "sentence-transformers": Method(OTHERS, _sentence_settings, _fit_sentence),
    DEFAULT: Method(SKPERCO, _ours_settings, _fit_ours),
}
