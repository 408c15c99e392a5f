"""
Transform and score Dask arrays
===============================

Data that does not fit into memory can stay in a Dask array: ``transform`` is lazy and works chunk
by chunk, and scores read only the rows that they need. Both use the scheduler of Dask, from threads
to a cluster.
"""

# %%
# The embeddings of a corpus, in chunks. Here they are copies of the embeddings of WordNet glosses
# with added noise; real data would be read by ``da.from_zarr`` or ``dask.dataframe.read_parquet``.

from functools import partial

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np

from skperco import CoherenceDistiller, perception_coherence_score
from skperco.datasets import load_wordnet_glosses

glosses = load_wordnet_glosses().data
n_chunks = 20


def noisy(block, block_info=None):
    seed = block_info[0]["chunk-location"][0] if block_info else 0
    noise = np.random.default_rng(seed).normal(scale=0.02, size=block.shape)
    return block + noise.astype(block.dtype)


corpus = da.concatenate([da.from_array(glosses, chunks=glosses.shape)] * n_chunks)
corpus = corpus.map_blocks(noisy, dtype=glosses.dtype)
print(corpus.shape, f"{corpus.nbytes / 1e6:.0f} MB, not computed yet")

# %%
# ``fit`` needs data in memory; a random sample of a few thousand rows is enough.

rng = np.random.default_rng(0)
drawn = np.sort(rng.choice(len(corpus), 4000, replace=False))
distiller = CoherenceDistiller(16, random_state=0).fit(corpus[drawn].compute())

# %%
# The embeddings are lazy, and so are the results computed from them.

small = distiller.transform(corpus)
print(small)
print(f"mean norm {da.linalg.norm(small, axis=1).mean().compute():.3f}")

# %%
# A score samples anchors and references, and computes only these rows of both arrays.

score = partial(perception_coherence_score, corpus)
fewer = {k: score(small[:, :k]) for k in (2, 4, 8, 12, 16)}
plt.plot(list(fewer), list(fewer.values()), marker="o", color="#0072b2")
plt.xlabel("number of leading components kept, of 16")
plt.ylabel(f"coherence, {len(corpus):,} rows")
plt.grid(alpha=0.3)
plt.tight_layout()
plt.show()
