import pickle
import subprocess
import sys

import builders
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from references import global_random_states
from sklearn import config_context
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skperco import CoherenceDistiller, neighbor_recall_score, perception_coherence_score
from skperco.training._early_stopping import decide

STUDENTS = pytest.mark.parametrize("student", ["linear", "mlp"])


@pytest.fixture(scope="module")
def rows(glosses):
    """Few rows, enough for some of them to be held out."""
    return glosses.data[:300]


@pytest.fixture(scope="module")
def new_rows(glosses):
    return glosses.data[300:700]


@pytest.fixture(scope="module")
def texts(glosses):
    """The glosses as TF-IDF counts, sparse."""
    return TfidfVectorizer(min_df=3).fit_transform(glosses.text[:700])


def small(n_components=8, **parameters):
    return builders.small(n_components, **parameters)


def closed_form(**parameters):
    return small(**(parameters | {"max_iter": 0}))


# What it is for


@pytest.mark.parametrize("n_components", [16, 48])
def test_new_rows_are_more_coherent_than_under_pca(glosses, n_components):
    known, new = glosses.data[:1200], glosses.data[2000:3000]
    distiller = CoherenceDistiller(
        n_components, batch_size=128, n_references=256, max_iter=60, random_state=0, device="cpu"
    )
    mine = distiller.fit(known).transform(new)
    theirs = PCA(n_components, random_state=0).fit(known).transform(new)
    for score in (perception_coherence_score, neighbor_recall_score):
        assert score(new, mine) > score(new, theirs)


@STUDENTS
def test_held_out_rows_stop_steps_that_are_too_long(rows, student):
    for seed in range(3):
        distiller = small(student=student, learning_rate_init=100.0, random_state=seed).fit(rows)
        chosen = distiller.validation_fractions_.index(distiller.fraction_)
        scores = distiller.validation_scores_
        assert scores[-1] < scores[0] - 0.03
        assert scores[chosen] >= scores[0] - 0.0005


def test_the_sparse_words_of_new_texts_are_placed_as_the_teacher_would(glosses, texts):
    # A regression without a teacher's ranks is what the closed form is; both are far from chance.
    distiller = small(32, max_iter=30).fit(texts[:600], glosses.data[:600])
    assert distiller.score(texts[600:], glosses.data[600:700]) > 0.55


def test_without_a_teacher_the_score_is_that_of_the_rows_themselves(rows, new_rows):
    distiller = small().fit(rows)
    expected = perception_coherence_score(new_rows, distiller.transform(new_rows))
    assert distiller.score(new_rows) == expected
    assert distiller.score(new_rows, np.arange(len(new_rows))) == expected


def test_the_score_takes_weights_and_metrics(rows, new_rows):
    teacher, weights = new_rows[:, :50], np.arange(len(new_rows))
    distiller = small(metric="euclidean", teacher_metric="cosine").fit(rows)
    found = distiller.score(new_rows, teacher, sample_weight=weights)
    expected = perception_coherence_score(
        teacher,
        distiller.transform(new_rows),
        metric="euclidean",
        teacher_metric="cosine",
        sample_weight=weights,
    )
    assert found == expected


# The closed form, and how far from it


@pytest.mark.parametrize("early_stopping", [False, True])
def test_the_closed_form_takes_the_leading_directions_of_all_rows(rows, early_stopping):
    # Held-out rows decide, and are then learned from as well.
    found = closed_form(early_stopping=early_stopping).fit_transform(rows)
    vectors = np.linalg.svd(rows, full_matrices=False)[2][:8]
    images = rows @ vectors.T
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    np.testing.assert_allclose(found @ found.T, images @ images.T, atol=0.01)


@STUDENTS
def test_no_steps_keep_the_closed_form(rows, student):
    distiller = closed_form(student=student).fit(rows)
    linear = closed_form().fit(rows)
    np.testing.assert_array_equal(distiller.transform(rows), linear.transform(rows))
    assert distiller.n_iter_ == 1
    assert distiller.loss_curve_ == []
    assert distiller.validation_scores_ is None
    assert distiller.validation_fractions_ is None
    assert distiller.fraction_ == 0


@STUDENTS
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("kind", ["compression", "transfer"])
def test_a_fraction_of_zero_is_the_closed_form(rows, new_rows, student, metric, kind, monkeypatch):
    monkeypatch.setattr("skperco.training._early_stopping.FRACTIONS", (0.0,))
    teacher = None if kind == "compression" else new_rows[:300]
    refined, kept = (
        small(student=student, metric=metric, max_iter=max_iter).fit(rows, teacher)
        for max_iter in (8, 0)
    )
    assert refined.fraction_ == 0
    assert refined.n_iter_ == 1
    np.testing.assert_array_equal(refined.transform(rows), kept.transform(rows))


def test_too_few_rows_to_hold_out_keep_the_closed_form(rows):
    distiller = small().fit(rows[:150])
    assert distiller.n_iter_ == 1
    assert distiller.validation_scores_ is None


def test_without_early_stopping_the_student_goes_all_the_way(rows):
    distiller = small(early_stopping=False).fit(rows[:150])
    assert distiller.fraction_ == 1
    assert distiller.n_iter_ == 9
    assert distiller.validation_scores_ is None
    kept = closed_form(early_stopping=False).fit(rows[:150])
    assert (distiller.transform(rows) != kept.transform(rows)).any()


def test_the_course_of_the_fit_is_recorded(rows):
    distiller = small(max_iter=11, rank_power=1.0).fit(rows)
    assert distiller.n_iter_ == 12
    assert len(distiller.loss_curve_) == 11
    assert all(isinstance(loss, float) for loss in distiller.loss_curve_)
    fractions, scores = distiller.validation_fractions_, distiller.validation_scores_
    assert fractions[0] == 0
    assert fractions[-1] == 1
    assert (np.diff(fractions) > 0).all()
    assert len(scores) == len(fractions)
    assert all(0 <= score <= 1 for score in scores)
    assert distiller.fraction_ in fractions


@pytest.mark.parametrize(("validation_fraction", "n_held_out"), [(0.1, 30), (0.5, 150)])
def test_the_validation_fraction_is_held_out(rows, validation_fraction, n_held_out, monkeypatch):
    counts = []

    def counted(fitted, pool, held_out, *rest):
        counts.append((fitted.n_rows, held_out.n_rows))
        return decide(fitted, pool, held_out, *rest)

    monkeypatch.setattr("skperco.distiller.decide", counted)
    small(validation_fraction=validation_fraction).fit(rows)
    assert counts == [(300 - n_held_out, n_held_out)]


# Closed forms that keep all dissimilarities


@pytest.mark.parametrize("early_stopping", [False, True])
@STUDENTS
@pytest.mark.parametrize(
    ("metric", "teacher_metric"),
    [("cosine", "cosine"), ("euclidean", "euclidean"), ("euclidean", "sqeuclidean")],
)
def test_an_exact_closed_form_is_not_refined(rows, metric, teacher_metric, student, early_stopping):
    parameters = {"metric": metric, "teacher_metric": teacher_metric, "student": student}
    distiller = small(None, early_stopping=early_stopping, **parameters).fit(rows[:, :12])
    assert distiller.loss_curve_ == []
    assert distiller.fraction_ == 0
    assert distiller.score(rows[:, :12].astype(np.float64)) > 1 - 1e-6


@pytest.mark.parametrize(
    ("metric", "teacher_metric"),
    [("manhattan", "manhattan"), ("correlation", "correlation"), ("cosine", "euclidean")],
)
def test_a_closed_form_that_is_not_exact_is_refined(rows, metric, teacher_metric):
    parameters = {"metric": metric, "teacher_metric": teacher_metric, "early_stopping": False}
    distiller = small(None, **parameters).fit(rows[:, :12])
    assert len(distiller.loss_curve_) == distiller.max_iter
    assert distiller.fraction_ == 1


# Teachers of every kind


def test_a_sparse_student_learns_from_a_two_dimensional_y(glosses, texts):
    teacher = glosses.data[:300]
    by_position = small().fit(texts[:300], teacher).transform(texts)
    by_name = small().fit(texts[:300], teacher_embeddings=teacher).transform(texts)
    np.testing.assert_array_equal(by_name, by_position)
    as_list = small().fit(texts[:300], teacher.astype(np.float64).tolist()).transform(texts)
    np.testing.assert_allclose(as_list, by_position, atol=0.05)


def test_sparse_and_dense_rows_have_the_same_closed_form(rows, texts):
    expected = closed_form().fit(texts[:300].toarray(), rows).transform(texts.toarray())
    found = closed_form().fit(texts[:300], rows).transform(texts)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("layout", [sp.csr_array, sp.csc_matrix, sp.coo_array])
def test_sparse_layouts_are_alike(rows, texts, layout):
    X = texts[:300]
    expected = closed_form().fit(X, rows).transform(X)
    found = closed_form().fit(layout(X), rows).transform(layout(X))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_a_teacher_by_name_wins_over_y(rows):
    other = np.random.default_rng(0).normal(size=(len(rows), 20))
    alone = small().fit(rows, teacher_embeddings=other)
    both = small().fit(rows, rows, teacher_embeddings=other)
    np.testing.assert_array_equal(both.transform(rows), alone.transform(rows))
    assert both.score(rows, rows, teacher_embeddings=other) == both.score(rows, other)


@pytest.mark.parametrize("labels", [np.arange(300), ["a", "b", "c"] * 100, [None] * 300])
def test_a_one_dimensional_y_is_no_teacher(rows, labels):
    expected = small().fit(rows).transform(rows)
    np.testing.assert_array_equal(small().fit(rows, labels).transform(rows), expected)
    np.testing.assert_array_equal(small().fit_transform(rows, labels), expected)


def test_it_serves_a_classifier_in_a_pipeline(glosses, rows):
    pipeline = make_pipeline(small(), LogisticRegression())
    is_noun = np.char.startswith(glosses.target_names[glosses.target[:300]].astype(str), "noun")
    assert pipeline.fit(rows, is_noun).score(rows, is_noun) > is_noun.mean()


def test_a_teacher_travels_through_a_pipeline(rows, new_rows):
    teacher = new_rows[:300]
    alone = small().fit(rows, teacher).transform(rows)
    with config_context(enable_metadata_routing=True):
        distiller = small().set_fit_request(teacher_embeddings=True)
        pipeline = make_pipeline(distiller).fit(rows, teacher_embeddings=teacher)
        np.testing.assert_array_equal(pipeline.transform(rows), alone)


def edit_distance(word, other):
    """Fewest letters to insert, delete or replace."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(word, 1):
        diagonal, row[0] = row[0], i
        for j, wanted in enumerate(other, 1):
            diagonal, row[j] = (
                row[j],
                min(row[j] + 1, row[j - 1] + 1, diagonal + (letter != wanted)),
            )
    return row[-1]


@pytest.fixture(scope="module")
def words():
    """Few stems with many endings."""
    stems = ["embed", "distil", "coher", "neighbo", "percept", "rank", "student", "teach"]
    endings = ["", "s", "ed", "er", "ers", "ing", "ings", "ent", "ence", "ion", "ions", "able"]
    return [stem + ending for stem in stems for ending in endings]


def test_strings_can_be_the_teacher_by_their_edit_distances(words):
    table = [[edit_distance(word, other) for other in words] for word in words]
    letters = TfidfVectorizer(analyzer="char", ngram_range=(1, 3)).fit_transform(words)
    distiller = small(teacher_metric="precomputed", early_stopping=False, max_iter=20)
    distiller.fit(letters, teacher_embeddings=table)
    assert distiller.score(letters, teacher_embeddings=table) > 0.75
    held_out = small(teacher_metric="precomputed", validation_fraction=0.3)
    held_out.fit(letters, teacher_embeddings=table)
    assert held_out.validation_scores_[0] > 0.6


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_a_table_is_as_good_a_teacher_as_the_rows_it_came_from(rows, texts, metric):
    X, teacher = texts[:300], rows[:, :30].astype(np.float64)
    table = np.linalg.norm(teacher[:, None] - teacher, axis=2)
    by_rows, by_table = (
        closed_form(metric=metric, teacher_metric=teacher_metric, early_stopping=False)
        .fit(X, given)
        .transform(X)
        for teacher_metric, given in (("euclidean", teacher), ("precomputed", table))
    )
    # They may look in turned or mirrored directions.
    np.testing.assert_allclose(by_table @ by_table.T, by_rows @ by_rows.T, atol=1e-5)


def test_a_callable_is_a_metric_too(rows):
    def taxi(anchors, references):
        return torch.cdist(anchors, references, p=1)

    expected = small(metric="manhattan").fit(rows)
    found = small(metric=taxi, teacher_metric="manhattan").fit(rows)
    np.testing.assert_allclose(found.transform(rows), expected.transform(rows), atol=1e-4)
    both = small(metric=taxi).fit(rows)
    assert both.score(rows) == pytest.approx(expected.score(rows), abs=1e-6)


@STUDENTS
@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "manhattan", "correlation"])
def test_every_metric_beats_chance_by_far(rows, new_rows, metric, student):
    distiller = small(metric=metric, student=student).fit(rows)
    assert distiller.score(new_rows) > 0.6
    assert (distiller.transform(new_rows) != closed_form().fit(rows).transform(new_rows)).any()


# Arrays in, arrays out


@STUDENTS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sparse", [False, True])
def test_precision_is_kept(rows, texts, student, dtype, sparse):
    X = (texts[:300] if sparse else rows).astype(dtype)
    distiller = small(student=student).fit(X, rows)
    for other in (np.float32, np.float64):
        assert distiller.transform(X.astype(other)).dtype == other
    single, double = (distiller.transform(X.astype(kind)) for kind in (np.float32, np.float64))
    np.testing.assert_allclose(single, double, atol=1e-5)


def test_whole_numbers_and_half_precision_are_taken(rows):
    whole = (100 * rows).astype(np.int32)
    expected = small().fit(whole.astype(np.float64)).transform(whole.astype(np.float64))
    np.testing.assert_array_equal(small().fit(whole).transform(whole.tolist()), expected)
    half = rows.astype(np.float16)
    expected = small().fit_transform(half.astype(np.float32))
    assert expected.dtype == np.float32
    np.testing.assert_array_equal(small().fit_transform(half), expected)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "correlation"])
def test_only_cosine_images_have_unit_norm(rows, metric):
    norms = np.linalg.norm(small(metric=metric).fit_transform(rows), axis=1)
    assert np.allclose(norms, 1, atol=1e-5) == (metric == "cosine")


@STUDENTS
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_fit_leaves_input_and_parameters_alone(rows, texts, student, metric):
    X, teacher, weights = texts[:300].copy(), rows.copy(), np.linspace(0, 1, 300)
    before = X.toarray(), teacher.copy(), weights.copy()
    distiller = small(student=student, metric=metric)
    parameters = distiller.get_params()
    distiller.fit(X, teacher, sample_weight=weights)
    distiller.fit(teacher).transform(teacher)
    assert distiller.get_params() == parameters
    for found, expected in zip((X.toarray(), teacher, weights), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_precomputed_table_is_left_alone(rows):
    table = np.maximum(1 - rows @ rows.T, 0)
    before = table.copy()
    small(teacher_metric="precomputed").fit(rows, table)
    np.testing.assert_array_equal(table, before)


def test_read_only_input_is_taken_without_a_warning(rows, recwarn):
    locked = rows.copy()
    locked.flags.writeable = False
    small().fit(locked).transform(locked)
    small().fit(locked, locked)
    assert not [warning for warning in recwarn if "writ" in str(warning.message)]


@STUDENTS
def test_fit_transform_is_fit_and_transform(rows, student):
    found = small(student=student).fit_transform(rows)
    np.testing.assert_array_equal(found, small(student=student).fit(rows).transform(rows))


def test_rows_are_embedded_alone_as_in_company(rows):
    distiller = small(student="mlp").fit(rows)
    alone = np.concatenate([distiller.transform(row[None]) for row in rows[:5]])
    np.testing.assert_allclose(alone, distiller.transform(rows)[:5], atol=1e-5)


@pytest.mark.parametrize(
    ("n_rows", "n_features", "n_teacher_features", "expected"),
    [(300, 384, None, 64), (40, 384, None, 64), (300, 9, None, 9), (300, 384, 5, 5), (2, 9, 7, 7)],
)
def test_n_components_none_does_not_depend_on_the_number_of_rows(
    rows, n_rows, n_features, n_teacher_features, expected
):
    teacher = None if n_teacher_features is None else rows[:n_rows, :n_teacher_features]
    distiller = small(None, max_iter=1).fit(rows[:n_rows, :n_features], teacher)
    assert distiller.n_components_ == expected
    assert distiller.transform(rows[:3, :n_features]).shape == (3, expected)


# Chance


PRINT_TRANSFORM = """
import hashlib
from skperco import CoherenceDistiller
from skperco.datasets import load_wordnet_glosses
rows = load_wordnet_glosses().data[:300]
distiller = CoherenceDistiller(
    8, student="mlp", batch_size=32, n_references=64, max_iter=8, random_state=3, device="cpu"
)
for teacher in (None, rows[:, :100]):
    print(hashlib.sha256(distiller.fit(rows, teacher).transform(rows).tobytes()).hexdigest())
"""


def test_two_processes_agree_bit_for_bit():
    command = [sys.executable, "-c", PRINT_TRANSFORM]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (process.communicate()[0].split() for process in processes)
    assert [len(digest) for digest in first] == [64, 64]
    assert first == second


@STUDENTS
def test_the_random_state_decides_all(rows, student):
    first, again, other = (
        small(student=student, random_state=seed, early_stopping=False).fit(rows).transform(rows)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_random_state_in_use_goes_on(rows):
    states = [np.random.RandomState(0) for _ in range(2)]
    first, again = (small(random_state=state).fit_transform(rows) for state in states)
    np.testing.assert_array_equal(first, again)
    assert states[0].randint(2**31) == states[1].randint(2**31)
    assert states[0].randint(2**31) != np.random.RandomState(0).randint(2**31)


@STUDENTS
def test_global_random_states_stay_untouched(rows, texts, student):
    states = global_random_states()
    small(student=student).fit(rows).transform(rows)
    distiller = small(student=student).fit(texts[:300], rows)
    distiller.score(texts[:300], rows)
    assert global_random_states() == states


# Weights


@pytest.mark.parametrize("kind", ["compression", "transfer"])
def test_a_common_factor_on_the_weights_changes_nothing(rows, new_rows, kind):
    teacher = None if kind == "compression" else new_rows[:300]
    weights = np.random.default_rng(0).integers(1, 4, size=300)
    found, expected = (
        small().fit(rows, teacher, sample_weight=factor * weights).transform(new_rows)
        for factor in (4, 1)
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    even = small().fit(rows, teacher).transform(new_rows)
    assert not np.allclose(found, even, atol=1e-2)
    equal = small().fit(rows, teacher, sample_weight=np.full(300, 2.0)).transform(new_rows)
    np.testing.assert_allclose(equal, even, atol=1e-5)


@pytest.mark.parametrize("kind", ["compression", "transfer", "precomputed"])
def test_a_weight_of_zero_leaves_a_row_out(rows, new_rows, kind):
    # The rows left out come last, so that the same numbers are drawn with and without them.
    kept = 250
    teacher, teacher_kept = None, None
    if kind == "transfer":
        teacher = new_rows[:300]
        teacher_kept = teacher[:kept]
    if kind == "precomputed":
        teacher = np.maximum(1 - new_rows[:300] @ new_rows[:300].T, 0)
        teacher_kept = teacher[:kept, :kept]
    metrics = {"teacher_metric": "precomputed" if kind == "precomputed" else None}
    weights = np.where(np.arange(300) < kept, np.arange(300) % 3 + 1.0, 0)
    found = small(**metrics).fit(rows, teacher, sample_weight=weights)
    without = small(**metrics).fit(rows[:kept], teacher_kept, sample_weight=weights[:kept])
    np.testing.assert_array_equal(found.transform(new_rows), without.transform(new_rows))


# scikit-learn


@STUDENTS
def test_a_pickle_embeds_alike(rows, student):
    distiller = small(student=student).fit(rows)
    again = pickle.loads(pickle.dumps(distiller))
    np.testing.assert_array_equal(again.transform(rows), distiller.transform(rows))


def test_a_clone_has_the_parameters_and_no_more(rows):
    parameters = {"student": "mlp", "metric": "euclidean", "hidden_layer_sizes": [4], "max_iter": 2}
    distiller = small(3, **parameters).fit(rows)
    cloned = clone(distiller)
    assert cloned.get_params() == distiller.get_params()
    assert parameters.items() <= cloned.get_params().items()
    with pytest.raises(NotFittedError):
        cloned.transform(rows)


def test_features_have_names(rows):
    distiller = small(3).fit(rows)
    expected = [f"coherencedistiller{i}" for i in range(3)]
    assert distiller.get_feature_names_out().tolist() == expected
    assert distiller.n_features_in_ == rows.shape[1]
    assert not hasattr(distiller, "feature_names_in_")


def test_data_frames_go_in_and_out(rows):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(rows[:, :5], columns=list("abcde"), index=np.arange(300) + 7)
    distiller = small(3).set_output(transform="pandas").fit(frame)
    found = distiller.transform(frame)
    assert distiller.feature_names_in_.tolist() == list("abcde")
    assert found.columns.tolist() == distiller.get_feature_names_out().tolist()
    assert (found.index == frame.index).all()
    expected = small(3).fit(rows[:, :5]).transform(rows[:, :5])
    np.testing.assert_array_equal(found, expected)
    teacher = pandas.DataFrame(rows[:, 5:15])
    by_frame = small(3).fit(frame, teacher).transform(frame)
    np.testing.assert_array_equal(
        by_frame, small(3).fit(frame, teacher.to_numpy()).transform(frame)
    )


def test_progress_is_printed_on_demand(rows, capsys):
    small().fit(rows)
    assert capsys.readouterr() == ("", "")
    small(verbose=True).fit(rows)
    printed = capsys.readouterr().out
    assert "step 8/8" in printed
    assert "held-out rows: coherence" in printed
    assert all(line.startswith("[CoherenceDistiller]") for line in printed.splitlines())


@pytest.mark.parametrize("device", ["auto", "cpu", torch.device("cpu")])
def test_devices_by_name_and_by_themselves(rows, device):
    distiller = small(device=device).fit(rows)
    assert next(distiller.student_.parameters()).device.type == "cpu"
    found, expected = distiller.transform(rows), small().fit(rows).transform(rows)
    np.testing.assert_allclose(found, expected, atol=1e-3)


# Bad input


GOOD = np.random.default_rng(0).normal(size=(30, 6))
TEACHER = np.random.default_rng(1).normal(size=(30, 5))
TABLE = np.abs(np.random.default_rng(1).normal(size=(30, 30)))


def spoiled(array, value):
    return np.where(np.arange(array.size).reshape(array.shape) == 7, value, array)


def fit_arguments(X=GOOD, y=None, **options):
    return (X, y), options


BAD_INPUT = {
    "rows": (fit_arguments(GOOD, TEACHER[:9]), {}, "X and teacher_embeddings .* 30 and 9 rows"),
    "rows by name": (
        fit_arguments(teacher_embeddings=TEACHER[:9]),
        {},
        "X and teacher_embeddings must describe the same rows, got 30 and 9 rows",
    ),
    "empty": (fit_arguments(GOOD[:0]), {}, "0 sample"),
    "no features": (fit_arguments(GOOD[:, :0]), {}, "0 feature"),
    "one row": (fit_arguments(GOOD[:1]), {}, "1 sample"),
    "1-D": (fit_arguments(GOOD[0]), {}, "Expected 2D array"),
    "nan in X": (fit_arguments(spoiled(GOOD, np.nan)), {}, "X contains NaN"),
    "inf in X": (fit_arguments(spoiled(GOOD, np.inf)), {}, "X contains infinity"),
    "nan in teacher": (
        fit_arguments(GOOD, spoiled(TEACHER, np.nan)),
        {},
        "teacher_embeddings contains NaN",
    ),
    "inf in teacher": (
        fit_arguments(teacher_embeddings=spoiled(TEACHER, -np.inf)),
        {},
        "teacher_embeddings contains infinity",
    ),
    "empty teacher": (fit_arguments(GOOD, TEACHER[:0]), {}, "teacher_embeddings"),
    "huge X": (fit_arguments(GOOD * 1e30), {"metric": "euclidean"}, "X must have its largest"),
    "tiny teacher": (fit_arguments(GOOD, TEACHER * 1e-30), {}, "teacher_embeddings must have its"),
    "ragged y": (fit_arguments(GOOD, [[1], [1, 2]] * 15), {}, "y: "),
    "meta device": (fit_arguments(), {"device": "meta"}, "device must be"),
    "one weight": (
        fit_arguments(sample_weight=np.eye(30)[0]),
        {},
        "sample_weight must be positive for at least 2",
    ),
    "metric without a gradient": (
        fit_arguments(),
        {"metric": lambda a, b: torch.cdist(a, b).detach(), "early_stopping": False},
        "metric must be differentiable",
    ),
    "3-D X": (fit_arguments(GOOD[None]), {}, "dim 3.*CoherenceDistiller"),
    "3-D y": (fit_arguments(GOOD, TEACHER[:, None]), {}, "teacher_embeddings"),
    "3-D teacher": (fit_arguments(teacher_embeddings=TEACHER[None]), {}, "teacher_embeddings"),
    "1-D teacher": (fit_arguments(teacher_embeddings=TEACHER[:, 0]), {}, "teacher_embeddings"),
    "strings in X": (fit_arguments([*GOOD.astype(str).tolist(), ["a"] * 6]), {}, "X"),
    "strings in teacher": (
        fit_arguments(teacher_embeddings=np.full((30, 2), "a")),
        {},
        "teacher_embeddings",
    ),
    "n_components 0": (fit_arguments(), {"n_components": 0}, "'n_components'"),
    "n_components of type": (fit_arguments(), {"n_components": 2.5}, "'n_components'"),
    "n_components over features": (
        fit_arguments(),
        {"n_components": 7},
        "n_components=7 .*6 features: choose at most 6, or None",
    ),
    "n_components over teacher": (
        fit_arguments(GOOD, TEACHER),
        {"n_components": 6},
        "n_components=6 .*5 dimensions of the teacher: choose at most 5, or None",
    ),
    "metric": (fit_arguments(), {"metric": "euclid"}, "metric must be .*Did you mean 'euclidean'"),
    "far metric": (fit_arguments(), {"metric": "zzz"}, "metric must be one of .*'manhattan'"),
    "teacher_metric": (
        fit_arguments(),
        {"teacher_metric": "cosin"},
        "teacher_metric must be .*Did you mean 'cosine'",
    ),
    "metric precomputed": (fit_arguments(), {"metric": "precomputed"}, "teacher_metric='precomp"),
    "no table": (fit_arguments(), {"teacher_metric": "precomputed"}, "teacher_embeddings"),
    "table not square": (
        fit_arguments(GOOD, TABLE[:, :9]),
        {"teacher_metric": "precomputed"},
        r"teacher_embeddings must be a square table.*\(30, 9\)",
    ),
    "table negative": (
        fit_arguments(GOOD, spoiled(TABLE, -1.0)),
        {"teacher_metric": "precomputed"},
        "teacher_embeddings must hold non-negative",
    ),
    "table of others": (
        fit_arguments(GOOD, TABLE[:9, :9]),
        {"teacher_metric": "precomputed"},
        "X and teacher_embeddings must describe the same rows, got 30 and 9 rows",
    ),
    "weights of shape": (fit_arguments(sample_weight=np.ones(9)), {}, "sample_weight"),
    "weights negative": (fit_arguments(sample_weight=-np.ones(30)), {}, "sample_weight"),
    "weights nan": (fit_arguments(sample_weight=np.full(30, np.nan)), {}, "sample_weight"),
    "weights zero": (fit_arguments(sample_weight=np.zeros(30)), {}, "sample_weight"),
    "device": (fit_arguments(), {"device": "warp"}, "device must be 'auto' or .*'warp'"),
    "device number": (fit_arguments(), {"device": "cuda:99"}, "device must be .*cuda.*99"),
    "student": (fit_arguments(), {"student": "tree"}, "'student'"),
    "rank_power": (fit_arguments(), {"rank_power": 1.5}, "'rank_power'"),
    "batch_size": (fit_arguments(), {"batch_size": 0}, "'batch_size'"),
    "n_references": (fit_arguments(), {"n_references": 1}, "'n_references'"),
    "n_neighbors": (fit_arguments(), {"n_neighbors": 1}, "'n_neighbors'"),
    "learning_rate_init": (fit_arguments(), {"learning_rate_init": 0.0}, "'learning_rate_init'"),
    "max_iter": (fit_arguments(), {"max_iter": -1}, "'max_iter'"),
    "validation_fraction": (fit_arguments(), {"validation_fraction": 1.0}, "'validation_fraction'"),
    "hidden_layer_sizes": (
        fit_arguments(),
        {"student": "mlp", "hidden_layer_sizes": (0,)},
        "hidden_layer_sizes",
    ),
    "fractions of units": (
        fit_arguments(),
        {"student": "mlp", "hidden_layer_sizes": (2.5,)},
        "hidden_layer_sizes",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_named(case):
    (arguments, options), parameters, message = BAD_INPUT[case]
    distiller = small(**({"n_components": 2} | parameters))
    with pytest.raises(ValueError, match=message):
        distiller.fit(*arguments, **options)


@pytest.mark.parametrize("metric", ["correlation", lambda a, b: torch.cdist(a, b)])
@pytest.mark.parametrize("name", ["metric", "teacher_metric"])
def test_sparse_rows_are_their_own_teacher_only_by_some_metrics(metric, name):
    X = sp.csr_array(GOOD)
    with pytest.raises(ValueError, match=r"sparse rows, X as its own.*'cosine'.*TruncatedSVD"):
        small(2, **{name: metric}).fit(X)
    small(2, metric=metric).fit(X, TEACHER)


def test_a_sparse_teacher_by_name_is_refused():
    with pytest.raises(TypeError, match=r"teacher_embeddings.* dense"):
        small(2).fit(GOOD, sp.csr_array(TEACHER))


def test_nothing_is_embedded_or_scored_before_the_fit():
    for method in (small(2).transform, small(2).score, small(2).get_feature_names_out):
        with pytest.raises(NotFittedError, match="CoherenceDistiller"):
            method(GOOD)


def test_another_number_of_features_is_refused():
    distiller = small(2).fit(GOOD)
    for method in (distiller.transform, distiller.score):
        with pytest.raises(ValueError, match=r"X has 5 features, but CoherenceDistiller.* 6"):
            method(GOOD[:, :5])


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (spoiled(GOOD, np.nan), "X contains NaN"),
        (spoiled(GOOD, np.inf), "X contains infinity"),
        (GOOD[:0], "0 sample"),
        (GOOD[None], "dim 3"),
        (GOOD[0], "2D array"),
    ],
)
def test_bad_rows_to_transform_are_refused(X, message):
    distiller = small(2).fit(GOOD)
    with pytest.raises(ValueError, match=message):
        distiller.transform(X)


def test_a_score_refuses_a_teacher_of_other_rows():
    distiller = small(2).fit(GOOD)
    with pytest.raises(ValueError, match=r"teacher.* same rows, got 9 and 30"):
        distiller.score(GOOD, TEACHER[:9])


def test_a_failed_fit_is_none():
    distiller = small(2)
    with pytest.raises(ValueError, match="same rows"):
        distiller.fit(GOOD, TEACHER[:9])
    with pytest.raises(NotFittedError):
        distiller.transform(GOOD)


def test_a_failed_fit_can_be_tried_again():
    distiller = small(7)
    with pytest.raises(ValueError, match="n_components"):
        distiller.fit(GOOD)
    assert distiller.set_params(n_components=2).fit(GOOD).n_components_ == 2
