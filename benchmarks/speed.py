"""What the pieces cost, each beside what does the same or as much: ratios, measured in one run.

    python benchmarks/speed.py
    python benchmarks/speed.py --only kernel transform --threads 1

Every pair is measured in turn, again and again; a ratio is the median of those of the turns, with
their quartiles. torchsort is compiled from its sources, with the torch that is installed, where no
CUDA compiler is on the PATH: pip install --no-build-isolation torchsort. UMAP is an extra, umap.
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

import numpy as np
import torch
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from skperco import CoherenceDistiller, percentile_rank, soft_percentile_rank
from skperco.training._student_fit import Fit
from skperco.utils._chunking import RowTaker

_ROWS = 64
_REFERENCES = (1024, 4096, 16_384, 65_536)
_FIT_ROWS = 10_000
_TRANSFORMED_ROWS = 100_000
_FEATURES = 384
_COMPONENTS = 64
_UMAP_COMPONENTS = 16
_REPEATED_FITS = 5


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
    parser.add_argument("--threads", type=int, help="all that there are by default")
    return parser.parse_args()


def _kernel(repeats):
    """Soft ranks forward and backward."""
    print(f"Soft ranks of {_ROWS} rows, forward and backward, float32")
    torchsort_rank = _torchsort_rank()
    seconds = []
    for n in _REFERENCES:
        rows, incoming = _dissimilarities(n), torch.randn(_ROWS, n)
        cases = {
            "skperco": _there_and_back(soft_percentile_rank, rows, incoming),
            "torch.sort": rows.detach().sort,
            "exact ranks": lambda rows=rows: percentile_rank(rows),
        }
        if torchsort_rank is not None:
            cases["torchsort"] = _there_and_back(torchsort_rank, rows, incoming)
        times = _in_turn(cases, repeats)
        seconds.append(np.median(times["skperco"]))
        others = "  ".join(
            f"{_ratio(times, name)} of {name}" for name in cases if name != "skperco"
        )
        print(f"  {n:6,} references {1e3 * seconds[-1]:8.2f} ms: {others}")
    exponent = np.polyfit(np.log(_REFERENCES), np.log(seconds), 1)[0]
    print(f"  time grows as the number of references to the power of {exponent:.2f}")


def _torchsort_rank():
    try:
        import torchsort  # an extra of this benchmark
    except ImportError:
        print("  torchsort is not installed")
        return None
    return lambda rows: torchsort.soft_rank(rows, regularization_strength=0.1)


def _dissimilarities(n_references):
    """What the training ranks: cosine dissimilarities of 64 dimensions."""
    generator = torch.Generator().manual_seed(0)
    anchors, references = (
        torch.nn.functional.normalize(torch.randn(n, _COMPONENTS, generator=generator))
        for n in (_ROWS, n_references)
    )
    return (1 - anchors @ references.T).requires_grad_()


def _there_and_back(function, rows, incoming):
    def run():
        rows.grad = None
        function(rows).backward(incoming)

    return run


def _step(repeats):
    """Where the time of a training step goes, beside the products and sorts that it needs."""
    print(f"A step of the fit of {_FIT_ROWS:,} x {_FEATURES} to {_COMPONENTS} dimensions")
    refinement = _refinement()
    turns = [_times_of_a_step(refinement) for _ in range(10 + 2 * repeats)][10:]
    medians = {name: np.median([turn[name] for turn in turns]) for name in turns[0]}
    for name, seconds in medians.items():
        print(f"  {name:42} {1e3 * seconds:6.2f} ms")
    print(f"  {'all':42} {1e3 * sum(medians.values()):6.2f} ms")
    rows, weight = refinement.take.all(), refinement.student.weight.detach()
    far, _ = refinement.terms[1]
    _, ranks = far.draw(refinement._draw(refinement.settings.batch_size))
    table = torch.rand_like(ranks)
    floor = {
        "products": lambda: (rows @ weight.T).T @ rows,
        "sorts": lambda: (table.sort(), table.sort()),
    }
    times = _in_turn(floor, repeats)
    for name, seconds in times.items():
        print(f"  {'the ' + name + ' in it, alone':42} {1e3 * np.median(seconds):6.2f} ms")


def _refinement():
    """That of a fit, after the coarse steps, which are cheaper."""
    kept = []

    class Spy(CoherenceDistiller):
        def _last_student(self, samples, pool, decision, seed):
            fit = Fit(samples, pool, decision.plan, np.random.RandomState(0))
            take = RowTaker(pool.samples.X, decision.plan.device)
            kept.append(fit._refinement(fit.student, take, pool.teacher, pool.samples))
            return fit.student

    rows = _embeddings(_FIT_ROWS)
    Spy(_COMPONENTS, early_stopping=False, random_state=0, device="cpu").fit(rows)
    (refinement,) = kept
    refinement.n_taken = refinement.settings.max_iter
    return refinement


def _times_of_a_step(refinement):
    """Seconds of its parts, which together are Refinement.run's."""
    student, comparison = refinement.student, refinement.comparison
    (near, _), (far, weight) = refinement.terms
    times, started = {}, time.perf_counter()

    def lap(name):
        nonlocal started
        now = time.perf_counter()
        times[name], started = now - started, now

    anchors = refinement._draw(refinement.settings.batch_size)
    near_drawn = near.draw(anchors)
    lap("draw anchors, and what they have near")
    far_drawn = far.draw(anchors)
    lap("draw references, and rank them")
    images = refinement._embeddings_of_all()
    lap("images of all rows")
    units = comparison.normalize(images)
    lap("unit norm")
    near_loss = near(units, *near_drawn)
    lap("near loss")
    far_loss = weight * far(units, *far_drawn)
    lap("far loss: soft ranks")
    (of_near,) = torch.autograd.grad(near_loss, units, retain_graph=True)
    lap("near loss, backward")
    (of_far,) = torch.autograd.grad(far_loss, units, retain_graph=True)
    lap("far loss, backward")
    (of_images,) = torch.autograd.grad(units, images, of_near + of_far, retain_graph=True)
    lap("unit norm, backward")
    torch.autograd.grad(images, list(student.parameters()), of_images, allow_unused=True)
    lap("images, backward")
    return times


def _fit(repeats):
    """The default fit, beside UMAP's to fewer dimensions of the same rows."""
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
    for number, kind in enumerate(("the first fit of a process", "its second fit")):
        times = {name: [turn[name][number] for turn in turns] for name in methods}
        for name, seconds in times.items():
            line = f"  {kind:26}  {name:18} {np.median(seconds):6.1f}"
            if name != "skperco":
                times_as_long = {"skperco": seconds, name: times["skperco"]}
                line += f"  {_ratio(times_as_long, name)} times as long as skperco's"
            print(line)


def _fits_of_a_process(code):
    """Seconds of two fits, one after the other, in a new process."""
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
    """The student's map, beside that of PCA."""
    print(f"transform of {_TRANSFORMED_ROWS:,} x {_FEATURES} to {_COMPONENTS} dimensions")
    rows = _embeddings(_TRANSFORMED_ROWS)
    distiller = CoherenceDistiller(_COMPONENTS, max_iter=5, random_state=0).fit(rows[:2000])
    pca = PCA(_COMPONENTS).fit(rows[:2000])
    times = _in_turn(
        {"skperco": lambda: distiller.transform(rows), "PCA": lambda: pca.transform(rows)}, repeats
    )
    print(f"  {1e3 * np.median(times['skperco']):.0f} ms: {_ratio(times, 'PCA')} of PCA.transform")


def _repeated_fits(_repeats):
    """Whether memory, or the number of threads, grows from fit to fit."""
    print(
        "Repeated fits in one process: resident memory and threads after each, as Linux tells them"
    )
    rows, seen = _embeddings(3000), []
    for seed in range(_REPEATED_FITS):
        CoherenceDistiller(_COMPONENTS, random_state=seed, device="cpu").fit(rows)
        gc.collect()
        with open("/proc/self/status") as status:
            fields = dict(line.split(":", 1) for line in status)
        megabytes = int(fields["VmRSS"].split()[0]) / 1024
        seen.append(f"{megabytes:.0f} MB, {int(fields['Threads'])}")
    print("  " + "   ".join(seen))


def _embeddings(n_rows):
    """Random rows with a spectrum that falls as those of embeddings of text do."""
    rng = np.random.default_rng(0)
    spectrum = np.arange(1, _FEATURES + 1) ** -0.5
    return (rng.standard_normal((n_rows, _FEATURES)) * spectrum).astype(np.float32)


def _in_turn(cases, repeats):
    """Seconds of each case, one after the other, again and again.

    Each is run twice, and timed the second time: for a while after a library has done its work,
    its threads keep the cores from those of another.
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
    """Median and quartiles, over the turns, of skperco's time over that of another."""
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
