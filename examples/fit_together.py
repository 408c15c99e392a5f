"""
Distributed training
====================

The same script runs in one process, in several, or on several machines::

    python examples/fit_together.py
    torchrun --nproc-per-node 2 examples/fit_together.py

Each process reads its own share of the rows. All end with the same student; the first one saves it.
"""

import os
from pathlib import Path
from tempfile import mkdtemp

import torch
from torch import distributed

from skperco import CoherenceDistiller
from skperco.datasets import load_wordnet_glosses

rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
if size > 1:
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group()

embeddings = load_wordnet_glosses().data
distiller = CoherenceDistiller(16, distributed=True, random_state=0).fit(embeddings[rank::size])
if rank == 0:
    path = Path(mkdtemp()) / "student.safetensors"
    distiller.save(path)
    print(f"processes: {size}, rows: {distiller.n_samples_seen_}, file: {path}")

if size > 1:
    distributed.destroy_process_group()
