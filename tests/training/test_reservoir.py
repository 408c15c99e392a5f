import numpy as np
import pytest
import scipy.sparse as sp
from builders import small

from skperco.datasets import load_wordnet_glosses
from skperco.training._reservoir import Stream
from skperco.training._samples import Samples


@pytest.fixture(scope="module")
def rows():
    return load_wordnet_glosses().data[:400]


def samples_of(numbers):
    numbers = np.asarray(numbers, dtype=float)
    return Samples(numbers[:, None], np.ones(len(numbers)), None, "cosine")


def kept_of(stream):
    return stream.samples.X[:, 0]


def stream_of(batches, seed=0, max_samples=1000):
    stream = Stream.from_batch(samples_of(batches[0]), max_samples, seed, None)
    for batch in batches[1:]:
        stream = stream.update(samples_of(batch))
    return stream


def test_a_short_stream_is_kept_in_order():
    stream = stream_of([[3, 1], [2], [5, 4]])
    np.testing.assert_array_equal(kept_of(stream), [3, 1, 2, 5, 4])
    assert stream.n_seen == 5


def test_reservoir_sampling_keeps_every_row_with_the_same_probability():
    batches = np.split(np.arange(40), [3, 20, 21, 39])
    counts = np.zeros(40)
    for seed in range(2000):
        kept = kept_of(stream_of(batches, seed, max_samples=8)).astype(int)
        assert len(set(kept)) == 8
        assert (np.diff(kept) > 0).all()
        counts[kept] += 1
    # Each row is kept in a fifth of the runs: 400 times, with a standard deviation of 18.
    assert np.abs(counts - 400).max() < 80


def test_weights_and_teachers_stay_with_their_rows():
    numbers = np.arange(1.0, 13.0)
    batches = [
        Samples(part[:, None], 10 * part, 100 * part[:, None], "cosine")
        for part in np.split(numbers, 3)
    ]
    stream = Stream.from_batch(batches[0], 5, 0, None)
    for batch in batches[1:]:
        stream = stream.update(batch)
    assert stream.samples.n_rows == 5
    np.testing.assert_array_equal(stream.samples.weight, 10 * kept_of(stream))
    np.testing.assert_array_equal(stream.samples.teacher[:, 0], 100 * kept_of(stream))


def test_a_stream_is_refitted_after_growing_by_a_tenth():
    stream = stream_of([range(100)])
    assert stream.should_refit
    stream = stream._replace(n_learned=100).update(samples_of(range(9)))
    assert not stream.should_refit
    assert stream.update(samples_of([0])).should_refit


# Through partial_fit of the estimator


def streamed(distiller, *columns):
    for batch in np.array_split(np.arange(400), 3):
        distiller.partial_fit(*(column[batch] for column in columns))
    return distiller


@pytest.mark.parametrize("student", ["linear", "mlp"])
@pytest.mark.parametrize("kind", ["compression", "transfer", "sparse"])
def test_partial_fit_to_batches_equals_fit_to_all_rows(rows, kind, student):
    columns = {
        "compression": (rows,),
        "transfer": (rows[:, ::2], rows),
        "sparse": (sp.csr_array(np.where(rows > 0.05, rows, 0)),),
    }[kind]
    whole = small(student=student).fit(*columns)
    distiller = streamed(small(student=student), *columns)
    np.testing.assert_array_equal(distiller.transform(columns[0]), whole.transform(columns[0]))
    assert distiller.n_samples_seen_ == whole.n_samples_seen_ == 400


def test_the_student_is_usable_after_every_batch(rows):
    distiller = small()
    scores = [distiller.partial_fit(batch).score(rows) for batch in np.split(rows, 4)]
    assert scores[-1] > scores[0] > 0.6


def test_partial_fit_uses_the_weights_of_every_batch(rows):
    weights = np.random.default_rng(0).integers(0, 3, 400).astype(float)
    distiller = small()
    for batch in np.split(np.arange(400), 4):
        distiller.partial_fit(rows[batch], sample_weight=weights[batch])
    expected = small().fit(rows, sample_weight=weights)
    np.testing.assert_array_equal(distiller.transform(rows), expected.transform(rows))
    assert distiller.n_samples_seen_ == np.count_nonzero(weights)


def test_max_samples_bounds_the_rows_that_are_kept(rows):
    distiller = streamed(small(max_samples=250), rows)
    assert distiller._stream.samples.n_rows == 250
    assert distiller.n_samples_seen_ == 400
    assert distiller.score(rows) > 0.65


def test_a_small_batch_causes_no_refit_until_the_stream_has_grown(rows):
    distiller = small().partial_fit(rows[:300])
    before = distiller.transform(rows)
    np.testing.assert_array_equal(distiller.partial_fit(rows[300:320]).transform(rows), before)
    assert distiller.n_samples_seen_ == 320
    changed = distiller.partial_fit(rows[320:330]).transform(rows)
    np.testing.assert_array_equal(changed, small().fit(rows[:330]).transform(rows))


def test_a_single_row_can_be_any_batch_but_the_first(rows):
    distiller = small().partial_fit(rows[:20])
    for row in rows[20:22]:
        distiller.partial_fit(row[None])
    np.testing.assert_array_equal(distiller.transform(rows), small().fit(rows[:22]).transform(rows))
    with pytest.raises(ValueError, match="minimum of 2"):
        small().partial_fit(rows[:1])


def test_partial_fit_after_fit_resumes_from_its_student(rows):
    distiller = small(early_stopping=False).fit(rows[:200])
    before = distiller.transform(rows)
    after = distiller.partial_fit(rows[200:]).transform(rows)
    warm = small(early_stopping=False, warm_start=True).fit(rows[:200]).fit(rows[200:])
    np.testing.assert_array_equal(after, warm.transform(rows))
    assert np.abs(after - before).max() > 1e-4


def test_fit_discards_the_stream(rows):
    distiller = small().partial_fit(rows[:100]).fit(rows[100:300])
    np.testing.assert_array_equal(
        distiller.transform(rows), small().fit(rows[100:300]).transform(rows)
    )
    assert distiller.n_samples_seen_ == 200


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (lambda rows: (rows[:, :5],), "X has 5 features, but CoherenceDistiller.* 384"),
        (
            lambda rows: (rows, rows),
            "teacher_embeddings must be of the same kind .* dense rows after None",
        ),
        (
            lambda rows: (sp.csr_array(rows),),
            "X must be of the same kind .* sparse rows after dense rows",
        ),
    ],
)
def test_a_batch_of_another_kind_is_refused_and_keeps_the_student(rows, batch, message):
    distiller = small().partial_fit(rows[:200])
    before = distiller.transform(rows)
    with pytest.raises(ValueError, match=message):
        distiller.partial_fit(*batch(rows[200:]))
    np.testing.assert_array_equal(distiller.transform(rows), before)
    assert distiller.n_samples_seen_ == 200


def test_a_teacher_batch_with_another_number_of_features_is_refused(rows):
    distiller = small().partial_fit(rows[:200], rows[:200, :50])
    with pytest.raises(
        ValueError, match=r"teacher_embeddings must have the same number .* 40 after 50"
    ):
        distiller.partial_fit(rows[200:], rows[200:, :40])


def test_partial_fit_refuses_a_precomputed_teacher(rows):
    with pytest.raises(
        ValueError, match="partial_fit does not support teacher_metric='precomputed'"
    ):
        small(teacher_metric="precomputed").partial_fit(rows, np.zeros((400, 400)))
