"""Size, speed and quality of a text encoder of a few megabytes, compared with its teacher.

    python benchmarks/lightweight.py                          # the shipped glosses
    python benchmarks/lightweight.py --texts T.jsonl.gz --teacher T.npy --fit-rows 15000

The encoder is a linear map of hashed character n-grams. The same encoder is trained by regression,
with the initialization of the distiller: ridge regression and SVD. "MSE" and "cosine" train it
with a projector to all dimensions of the teacher, the best of three learning rates, and as many
steps as the distiller or four times as many. All are evaluated on test rows. Texts per second
are measured on one core, from the raw text to the embedding. The teacher itself is timed if
sentence-transformers is installed and finds --teacher-model; otherwise a transformer of the same
shape with random weights is timed, on fewer tokens: words and punctuation marks, not subwords.
"""

import argparse
import gzip
import json
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from rivals.cases import GLOSSES_TO_FIT, Case, Rows, character_ngrams, words
from rivals.evaluation import COHERENCE, KNN_ACCURACY, RECALL, evaluate, validation_score
from rivals.methods import METHODS, Task
from sklearn.linear_model import Ridge
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from skperco import CoherenceDistiller
from skperco.datasets import load_wordnet_glosses

_N_COMPONENTS = 64
# Just under four megabytes, with 64 values of float32 for each.
_N_HASHES = 15_400
_STEPS = CoherenceDistiller().max_iter
_MORE_STEPS = 4 * _STEPS
_ALPHAS = (0.2, 0.4, 0.8, 1.6)
_SCORES = (COHERENCE, RECALL, KNN_ACCURACY)
_TIMED_TEXTS = 1000
_REPEATS = 5

_TEACHER_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
_TEACHER_PARAMETERS = 22_713_216
_TEACHER_BATCH = 32


class Texts(NamedTuple):
    """Texts, their embeddings by the teacher, and labels; the first `n_fit` are for training."""

    text: list
    teacher: np.ndarray
    labels: np.ndarray
    n_fit: int

    def case(self, X, *, compression=False):
        """The case of a student with input X."""
        parts = Rows(X, self.teacher, self.labels).split(self.n_fit)
        return Case("texts", "cosine", *parts, compression)


class Encoder(NamedTuple):
    """A text encoder: a factory of vectorizers, and the fit of a Task on their output."""

    title: str
    vectorizer: Callable
    fit: Callable


def main():
    options = _parse()
    texts = _load(options)
    print(
        f"{texts.n_fit:,} texts for training, {len(texts.text) - texts.n_fit:,} for evaluation.\n"
    )
    teacher, timed_model = _teacher_encoder(options.teacher_model)
    scores = evaluate(texts.case(texts.teacher, compression=True), lambda X: X)
    majority = _majority(texts)
    report = _Report(scores[KNN_ACCURACY], majority)
    report.heading()
    speeds = _speeds(teacher, teacher, texts.text)
    report.line("teacher", 4 * _TEACHER_PARAMETERS, speeds, scores, 0.0)
    for name in options.encoders:
        encoder = _ENCODERS[name]
        report.line(encoder.title, *_measure(encoder, teacher, texts, options.seed))
    print(f"\nMajority class: {majority:.3f}. Teacher that is timed: {timed_model}.")


def _parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--texts", type=Path, help='lines of JSON with "text" and "label", .jsonl.gz')
    add("--teacher", type=Path, help=".npy of the teacher's embeddings, a row for each line")
    add("--fit-rows", type=int, help="number of training rows, the first of the files")
    add("--stop", type=int, help="end of the test rows, which follow the training rows")
    add("--encoders", nargs="+", choices=_ENCODERS, default=list(_ENCODERS))
    add("--teacher-model", default=_TEACHER_MODEL, help="model to time")
    add("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.texts and not (options.teacher and options.fit_rows):
        parser.error("--texts needs --teacher and --fit-rows")
    return options


def _load(options):
    if not options.texts:
        glosses = load_wordnet_glosses()
        return Texts(glosses.text, glosses.data, glosses.target, GLOSSES_TO_FIT)
    with gzip.open(options.texts, "rt", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file][: options.stop]
    teacher = np.load(options.teacher, allow_pickle=False)[: options.stop].astype(np.float32)
    labels = np.array([line["label"] for line in lines])
    return Texts([line["text"] for line in lines], teacher, labels, options.fit_rows)


def _majority(texts):
    """Accuracy on the test texts of the most frequent training label."""
    names, counts = np.unique(texts.labels[: texts.n_fit], return_counts=True)
    return np.mean(texts.labels[texts.n_fit :] == names[counts.argmax()])


def _ridge(task):
    """Ridge regression onto all dimensions of the teacher; held-out rows choose alpha."""
    X, targets = task.rows.X, normalize(task.rows.teacher)
    n_fit = X.shape[0] * 9 // 10

    def score(alpha):
        predictions = _new_ridge(alpha).fit(X[:n_fit], targets[:n_fit]).predict(X[n_fit:])
        return validation_score(targets[n_fit:], predictions)

    return _new_ridge(max(_ALPHAS, key=score)).fit(X, targets).predict


def _new_ridge(alpha):
    return Ridge(alpha, solver="sparse_cg", tol=1e-3)


def _by(method, task, *, steps):
    return METHODS[method].fit(task._replace(steps=steps))


def _ngrams(title, method, steps=_STEPS):
    vectorizer = partial(character_ngrams, _N_HASHES)
    return Encoder(f"n-grams, {title}", vectorizer, partial(_by, method, steps=steps))


_ENCODERS = {
    "words": Encoder("words, ridge to all dimensions", partial(words, 2), _ridge),
    "ridge": _ngrams("ridge + SVD", "distiller", 0),
    "mse": _ngrams("MSE regression", "mse"),
    "mse-long": _ngrams("MSE regression, 4 times as many steps", "mse", _MORE_STEPS),
    "cosine": _ngrams("cosine regression", "cosine"),
    "cosine-long": _ngrams("cosine regression, 4 times as many steps", "cosine", _MORE_STEPS),
    "distiller": _ngrams("CoherenceDistiller", "distiller"),
}


def _measure(encoder, teacher, texts, seed):
    """Size in bytes, texts per second of encoder and teacher, scores and minutes to fit."""
    started = time.perf_counter()
    vectorizer = encoder.vectorizer().fit(texts.text[: texts.n_fit])
    case = texts.case(sp.csr_array(vectorizer.transform(texts.text)))
    embed = encoder.fit(Task(case.fit, False, "cosine", _N_COMPONENTS, seed, _STEPS))
    minutes = (time.perf_counter() - started) / 60
    n_components = embed(case.test.X[:1]).shape[1]
    speeds = _speeds(lambda text: embed(vectorizer.transform(text)), teacher, texts.text)
    return 4 * case.fit.X.shape[1] * n_components, speeds, evaluate(case, embed), minutes


def _speeds(encode, teacher, text):
    """Texts per second of two encoders on one core: the best of several alternating runs."""
    text, threads = text[-_TIMED_TEXTS:], torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        seconds = [[_seconds(one, text) for one in (encode, teacher)] for _ in range(_REPEATS)]
    torch.set_num_threads(threads)
    return [len(text) / min(times) for times in zip(*seconds, strict=True)]


def _seconds(encode, text):
    started = time.perf_counter()
    encode(text)
    return time.perf_counter() - started


def _teacher_encoder(model):
    """The teacher's encoder or a substitute of the same shape, and its name."""
    try:
        from sentence_transformers import SentenceTransformer

        teacher = SentenceTransformer(model, device="cpu", local_files_only=True)
    except (ImportError, OSError):
        return _TeacherSubstitute().encode, "a random transformer of its shape, with fewer tokens"
    return partial(teacher.encode, batch_size=_TEACHER_BATCH), model


class _TeacherSubstitute(torch.nn.Module):
    """A transformer with random weights and the shape of MiniLM (6 layers of 384, 12 heads)."""

    def __init__(self, n_layers=6, size=384, n_heads=12, n_units=1536, n_tokens=30_522):
        super().__init__()
        layer = torch.nn.TransformerEncoderLayer(
            size, n_heads, n_units, activation="gelu", batch_first=True
        )
        self.layers = torch.nn.TransformerEncoder(layer, n_layers)
        self.embedding = torch.nn.Embedding(n_tokens, size, padding_idx=0)
        self.eval()

    @torch.inference_mode()
    def encode(self, text):
        """Compute the sum over the tokens of each text, in batches of texts of similar length."""
        tokens = sorted((self._tokens(one) for one in text), key=len)
        for start in range(0, len(tokens), _TEACHER_BATCH):
            batch = torch.nn.utils.rnn.pad_sequence(
                tokens[start : start + _TEACHER_BATCH], batch_first=True
            )
            padding = batch == 0
            embeddings = self.layers(self.embedding(batch), src_key_padding_mask=padding)
            embeddings.masked_fill(padding[..., None], 0).sum(1)

    def _tokens(self, text):
        """Hashes of words and punctuation marks, with a token at both ends."""
        words = ["", *re.findall(r"\w+|[^\w\s]", text), ""]
        n_tokens = self.embedding.num_embeddings
        return torch.tensor([1 + hash(word) % (n_tokens - 1) for word in words])


class _Report:
    """Prints a table in Markdown."""

    def __init__(self, teacher_accuracy, majority):
        self.majority = majority
        self.accuracy_to_keep = teacher_accuracy - majority

    def heading(self):
        names = ["encoder", "MB", "texts/s", "times teacher", *_SCORES, "kept", "minutes to fit"]
        print("| " + " | ".join(names) + " |\n|---|" + "---:|" * (len(names) - 1))

    def line(self, title, n_bytes, speeds, scores, minutes):
        """`kept` is the fraction of the teacher's accuracy above that of the majority class."""
        speed, teacher_speed = speeds
        kept = (scores[KNN_ACCURACY] - self.majority) / self.accuracy_to_keep
        cells = [
            title,
            f"{n_bytes / 1e6:.1f}",
            f"{speed:,.0f}",
            f"{speed / teacher_speed:.0f}",
            *(f"{scores[name]:.3f}" for name in _SCORES),
            f"{kept:.0%}",
            f"{minutes:.1f}",
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
