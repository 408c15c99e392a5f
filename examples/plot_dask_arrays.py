"""
A Dask array, embedded and scored chunk by chunk
================================================

Rows that are too many for the memory of one machine stay with Dask: ``transform`` and the score
are as lazy as the rows, and run on whatever scheduler there is, from threads to a cluster.
"""

# %%
# The embeddings of a corpus, in chunks. Here they are the glosses' with some noise, again and
# again; elsewhere they come from files, by ``da.from_zarr`` or ``dask.dataframe.read_parquet``.

from functools import partial

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np

from skperco import CoherenceDistiller, perception_coherence_score
from skperco.datasets import load_wordnet_glosses

glosses = load_wordnet_glosses().data
n_chunks = 20


def noisy(block, block_info=None):
    number = block_info[0]["chunk-location"][0] if block_info else 0
    noise = np.random.default_rng(number).normal(scale=0.02, size=block.shape)
    return block + noise.astype(block.dtype)


corpus = da.concatenate([da.from_array(glosses, chunks=glosses.shape)] * n_chunks)
corpus = corpus.map_blocks(noisy, dtype=glosses.dtype)
print(corpus.shape, f"{corpus.nbytes / 1e6:.0f} MB, of which nothing has been computed")

# %%
# A fit takes rows in memory: some thousand, drawn at random, say what there is to know.

rng = np.random.default_rng(0)
drawn = np.sort(rng.choice(len(corpus), 4000, replace=False))
distiller = CoherenceDistiller(16, random_state=0).fit(corpus[drawn].compute())

# %%
# Embeddings are lazy, and so is what is made of them.

small = distiller.transform(corpus)
print(small)
print(f"mean norm {da.linalg.norm(small, axis=1).mean().compute():.3f}")

# %%
# A score draws anchors and references, and computes only these, in one pass over both arrays.

score = partial(perception_coherence_score, corpus)
fewer = {k: score(small[:, :k]) for k in (2, 4, 8, 12, 16)}
plt.plot(list(fewer), list(fewer.values()), marker="o", color="#0072b2")
plt.xlabel("leading components kept of 16")
plt.ylabel(f"coherence of {len(corpus):,} rows")
plt.grid(alpha=0.3)
plt.tight_layout()
plt.show()
