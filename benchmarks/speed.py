"""Speed of the parts of the library, relative to alternatives.

    python benchmarks/speed.py
    python benchmarks/speed.py --only kernel transform --threads 1

Measurements of both sides alternate; a ratio is the median of the ratios of all turns, with
quartiles. To compile torchsort for the installed torch, run `pip install --no-build-isolation
torchsort` without a CUDA compiler on the PATH. UMAP needs the extra `umap`.
"""

import argparse
import gc
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from itertools import islice

import numpy as np
import torch
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from skperco import CoherenceDistiller, percentile_rank, soft_percentile_rank
from skperco.students._builtin import embeddings_of
from skperco.training._settings import Settings
from skperco.training._teacher import Teacher
from skperco.training._trainer import Trainer
from skperco.utils._chunking import RowTaker

_ROWS = 64
_REFERENCES = (1024, 4096, 16_384, 65_536)
_FIT_ROWS = 10_000
_TRANSFORMED_ROWS = 100_000
_FEATURES = 384
_COMPONENTS = 64
_UMAP_COMPONENTS = 16
_REPEATED_FITS = 5
_CPU = torch.device("cpu")


def main():
    options = _parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}\n"
    )
    with threadpool_limits(options.threads):
        for name in options.only:
            _PARTS[name](options.repeats)
            print()


def _parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=_PARTS, default=list(_PARTS))
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, help="all by default")
    return parser.parse_args()


def _kernel(repeats):
    """Soft ranks forward and backward."""
    print(f"Soft ranks of {_ROWS} rows, forward and backward, float32")
    torchsort_rank = _torchsort_rank()
    seconds = []
    for n in _REFERENCES:
        rows, incoming = _dissimilarities(n), torch.randn(_ROWS, n)
        cases = {
            "skperco": _forward_and_backward(soft_percentile_rank, rows, incoming),
            "torch.sort": rows.detach().sort,
            "exact ranks": lambda rows=rows: percentile_rank(rows),
        }
        if torchsort_rank is not None:
            cases["torchsort"] = _forward_and_backward(torchsort_rank, rows, incoming)
        times = _alternate(cases, repeats)
        seconds.append(np.median(times["skperco"]))
        others = "  ".join(
            f"{_ratio(times, name)} of {name}" for name in cases if name != "skperco"
        )
        print(f"  {n:6,} references {1e3 * seconds[-1]:8.2f} ms: {others}")
    exponent = np.polyfit(np.log(_REFERENCES), np.log(seconds), 1)[0]
    print(f"  time grows as the number of references to the power of {exponent:.2f}")


def _torchsort_rank():
    try:
        import torchsort  # optional
    except ImportError:
        print("  torchsort is not installed")
        return None
    return lambda rows: torchsort.soft_rank(rows, regularization_strength=0.1)


def _dissimilarities(n_references):
    """Cosine dissimilarities of 64 dimensions, as in training."""
    generator = torch.Generator().manual_seed(0)
    anchors, references = (
        torch.nn.functional.normalize(torch.randn(n, _COMPONENTS, generator=generator))
        for n in (_ROWS, n_references)
    )
    return (1 - anchors @ references.T).requires_grad_()


def _forward_and_backward(function, rows, incoming):
    def run():
        rows.grad = None
        function(rows).backward(incoming)

    return run


def _step(repeats):
    """Time of the parts of a training step, and of its matrix products and sorts alone."""
    print(f"A step of the fit of {_FIT_ROWS:,} x {_FEATURES} to {_COMPONENTS} dimensions")
    trainer = _trainer()
    turns = [_step_times(trainer) for _ in range(10 + 2 * repeats)][10:]
    medians = {name: np.median([turn[name] for turn in turns]) for name in turns[0]}
    for name, seconds in medians.items():
        print(f"  {name:42} {1e3 * seconds:6.2f} ms")
    print(f"  {'all':42} {1e3 * sum(medians.values()):6.2f} ms")
    rows, weight = trainer.take.all(), trainer.student.weight.detach()
    global_term, _ = trainer.terms[1]
    _, ranks = global_term.draw(_anchors(trainer))
    unsorted = torch.rand_like(ranks)
    cases = {
        "matrix products alone": lambda: (rows @ weight.T).T @ rows,
        "sorts alone": lambda: (unsorted.sort(), unsorted.sort()),
    }
    for name, seconds in _alternate(cases, repeats).items():
        print(f"  {name:42} {1e3 * np.median(seconds):6.2f} ms")


def _trainer():
    """A trainer with the default settings, after the warm-up, whose steps are cheaper."""
    rows = _embeddings(_FIT_ROWS)
    distiller = CoherenceDistiller(_COMPONENTS, max_iter=0, random_state=0, device="cpu").fit(rows)
    # The learning rate does not matter for the time.
    defaults = CoherenceDistiller(learning_rate_init=0.1).get_params()
    parameters = {name: defaults[name] for name in Settings._fields if name in defaults}
    trainer = Trainer(
        distiller.student_,
        RowTaker(rows, _CPU),
        Teacher(rows, distiller.metric, _CPU),
        Settings(**parameters),
        torch.ones(_FIT_ROWS),
        torch.Generator().manual_seed(0),
    ).prepare()
    for _ in islice(trainer.run(), trainer.settings.max_iter // 2):
        pass
    return trainer


def _anchors(trainer):
    return torch.randint(_FIT_ROWS, (trainer.settings.batch_size,), generator=trainer.generator)


def _step_times(trainer):
    """Seconds of the parts of one step."""
    (local_term, _), (global_term, weight) = trainer.terms
    embed_all = embeddings_of(trainer.student, trainer.take.all())
    times, started = {}, time.perf_counter()

    def lap(name):
        nonlocal started
        now = time.perf_counter()
        times[name], started = now - started, now

    anchors = _anchors(trainer)
    local_drawn = local_term.draw(anchors)
    lap("draw anchors and neighbors")
    global_drawn = global_term.draw(anchors)
    lap("draw references, rank them by the teacher")
    embeddings = embed_all()
    lap("embeddings of all rows")
    units = trainer.comparison.normalize(embeddings)
    lap("unit norm")
    local_loss = local_term(units, *local_drawn)
    lap("local loss")
    global_loss = weight * global_term(units, *global_drawn)
    lap("global loss: soft ranks")
    (local_grad,) = torch.autograd.grad(local_loss, units, retain_graph=True)
    lap("local loss, backward")
    (global_grad,) = torch.autograd.grad(global_loss, units, retain_graph=True)
    lap("global loss, backward")
    grad = local_grad + global_grad
    (grad,) = torch.autograd.grad(units, embeddings, grad, retain_graph=True)
    lap("unit norm, backward")
    torch.autograd.grad(embeddings, list(trainer.student.parameters()), grad, allow_unused=True)
    lap("embeddings, backward")
    return times


def _fit(repeats):
    """The default fit, compared with UMAP to fewer dimensions."""
    print(f"Default fit of {_FIT_ROWS:,} x {_FEATURES} to {_COMPONENTS} dimensions, seconds")
    methods = {
        "skperco": _FIT_BY_SKPERCO,
        "UMAP": _FIT_BY_UMAP.format("None"),
        "UMAP, random_state": _FIT_BY_UMAP.format("0"),
    }
    if importlib.util.find_spec("umap") is None:
        print("  UMAP is not installed")
        methods = {"skperco": _FIT_BY_SKPERCO}
    turns = [
        {name: _fits_of_a_process(code) for name, code in methods.items()}
        for _ in range(max(3, repeats // 5))
    ]
    for i, kind in enumerate(("first fit of a process", "second fit of a process")):
        times = {name: [turn[name][i] for turn in turns] for name in methods}
        for name, seconds in times.items():
            line = f"  {kind:26}  {name:18} {np.median(seconds):6.1f}"
            if name != "skperco":
                inverted = {"skperco": seconds, name: times["skperco"]}
                line += f"  {_ratio(inverted, name)} times as long as skperco"
            print(line)


def _fits_of_a_process(code):
    """Seconds of two consecutive fits in a new process."""
    work = _FITS.format(_FIT_ROWS, _FEATURES, torch.get_num_threads(), code)
    done = subprocess.run([sys.executable, "-c", work], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


_FITS = """
import json, time, warnings
warnings.simplefilter("ignore")
import numpy as np
import torch
torch.set_num_threads({2})
spectrum = np.arange(1, {1} + 1) ** -0.5
X = (np.random.default_rng(0).standard_normal(({0}, {1})) * spectrum).astype(np.float32)
{3}
seconds = []
for _ in range(2):
    started = time.perf_counter()
    new().fit(X)
    seconds.append(time.perf_counter() - started)
print(json.dumps(seconds))
"""
_FIT_BY_SKPERCO = f"""
from skperco import CoherenceDistiller
new = lambda: CoherenceDistiller({_COMPONENTS}, random_state=0, device="cpu")
"""
_FIT_BY_UMAP = f"""
from umap import UMAP
new = lambda: UMAP({_UMAP_COMPONENTS}, metric="cosine", random_state={{}})
"""


def _transform(repeats):
    """Transform of a linear student, compared with PCA."""
    print(f"transform of {_TRANSFORMED_ROWS:,} x {_FEATURES} to {_COMPONENTS} dimensions")
    rows = _embeddings(_TRANSFORMED_ROWS)
    distiller = CoherenceDistiller(_COMPONENTS, max_iter=5, random_state=0).fit(rows[:2000])
    pca = PCA(_COMPONENTS).fit(rows[:2000])
    times = _alternate(
        {"skperco": lambda: distiller.transform(rows), "PCA": lambda: pca.transform(rows)}, repeats
    )
    print(f"  {1e3 * np.median(times['skperco']):.0f} ms: {_ratio(times, 'PCA')} of PCA.transform")


def _repeated_fits(_repeats):
    """Growth of memory and of the number of threads over several fits."""
    print("Repeated fits in one process: resident memory and threads after each (Linux only)")
    rows, measured = _embeddings(3000), []
    for seed in range(_REPEATED_FITS):
        CoherenceDistiller(_COMPONENTS, random_state=seed, device="cpu").fit(rows)
        gc.collect()
        with open("/proc/self/status") as status:
            fields = dict(line.split(":", 1) for line in status)
        megabytes = int(fields["VmRSS"].split()[0]) / 1024
        measured.append(f"{megabytes:.0f} MB, {int(fields['Threads'])}")
    print("  " + "   ".join(measured))


def _embeddings(n_rows):
    """Random rows with a decaying spectrum, similar to that of text embeddings."""
    rng = np.random.default_rng(0)
    spectrum = np.arange(1, _FEATURES + 1) ** -0.5
    return (rng.standard_normal((n_rows, _FEATURES)) * spectrum).astype(np.float32)


def _alternate(cases, repeats):
    """Seconds of each case, in turn, several times.

    Each is run twice and the second run is timed: for a while after a computation, the threads of
    one library occupy the cores that another needs.
    """
    times = {name: [] for name in cases}
    for _ in range(repeats):
        for name, run in cases.items():
            run()
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    return times


def _ratio(times, other):
    """Median and quartiles over the turns of the time of skperco divided by that of another."""
    low, middle, high = np.percentile(np.divide(times["skperco"], times[other]), [25, 50, 75])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


_PARTS = {
    "kernel": _kernel,
    "step": _step,
    "transform": _transform,
    "fit": _fit,
    "repeated-fits": _repeated_fits,
}


if __name__ == "__main__":
    main()
