import copy
import functools
import pickle

import numpy as np
import pytest
from builders import small, with_routing
from sklearn.base import clone
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import FitFailedWarning, UnsetMetadataPassedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.manifold import trustworthiness
from sklearn.metrics import check_scoring
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    validation_curve,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.utils._param_validation import InvalidParameterError

from skperco import (
    CoherenceDistiller,
    PerceptionCoherenceScorer,
    neighbor_recall_score,
    perception_coherence_score,
)
from skperco.metrics import _representations


@pytest.fixture(scope="module")
def many_rows(glosses):
    """More rows than are scored exactly, all of them different."""
    return np.concatenate([glosses.data[:, :64], glosses.data[:4000, -64:]])


# Without early stopping, since the folds are too small to hold rows out.
small = functools.partial(small, max_iter=4, early_stopping=False)


def by_hand(estimator, X, teacher=None, *, score=perception_coherence_score, cv=2):
    """Scores of the held-out rows of each split, after a fit to its other rows."""
    known = X if teacher is None else teacher
    scores = []
    for train, test in KFold(cv).split(X):
        fitted = clone(estimator).fit(X[train], None if teacher is None else teacher[train])
        scores.append(score(known[test], fitted.transform(X[test])))
    return scores


def split_scores(search):
    """Held-out scores of a search, one row per candidate."""
    results = search.cv_results_
    return np.stack([results[f"split{i}_test_score"] for i in range(search.n_splits_)], axis=1)


TEACHERS = pytest.mark.parametrize("taught", [False, True], ids=["own teacher", "teacher"])


# Searches with the score of the estimator


@TEACHERS
def test_grid_search_ranks_by_the_coherence_of_held_out_rows(rows, teacher, taught):
    y = teacher if taught else None
    search = GridSearchCV(small(), {"n_components": [2, 16], "rank_power": [0.2, 0.8]}, cv=2)
    search.fit(rows, y)
    candidates = search.cv_results_["params"]
    expected = [by_hand(small(**candidate), rows, y) for candidate in candidates]
    np.testing.assert_array_equal(split_scores(search), expected)
    assert search.best_index_ == np.argmax(np.mean(expected, axis=1))
    assert search.best_params_["n_components"] == 16
    refitted = small(**search.best_params_).fit(rows, y)
    np.testing.assert_array_equal(search.transform(rows), refitted.transform(rows))
    assert search.score(rows, y) == refitted.score(rows, y)


@pytest.mark.parametrize(
    ("parameter", "values"),
    [
        ("student", ["linear", "mlp"]),
        ("rank_power", [0.0, 1.0]),
        ("metric", ["cosine", "euclidean"]),
        ("teacher_metric", ["cosine", "manhattan"]),
        ("max_iter", [0, 4]),
        ("validation_fraction", [0.2, 0.4]),
    ],
)
def test_grid_search_sets_every_parameter(rows, teacher, parameter, values):
    # Early stopping is needed for validation_fraction to have an effect.
    distiller = small(early_stopping=parameter == "validation_fraction")
    search = GridSearchCV(distiller, {parameter: values}, cv=2)
    found = split_scores(search.fit(rows, teacher))
    expected = []
    for value in values:
        candidate = clone(distiller).set_params(**{parameter: value})
        options = {name: getattr(candidate, name) for name in ("metric", "teacher_metric")}
        score = functools.partial(perception_coherence_score, **options)
        expected.append(by_hand(candidate, rows, teacher, score=score))
    np.testing.assert_array_equal(found, expected)
    assert (found[0] != found[1]).any()


@TEACHERS
def test_grid_search_gives_the_same_scores_with_two_processes(rows, teacher, taught):
    y = teacher if taught else None
    one, two = (
        GridSearchCV(small(), {"n_components": [2, 16]}, cv=2, n_jobs=n_jobs).fit(rows, y)
        for n_jobs in (1, 2)
    )
    # Floating-point sums may be in another order in another process.
    np.testing.assert_allclose(split_scores(two), split_scores(one), atol=1e-4)
    assert two.best_params_ == one.best_params_


def test_grid_search_passes_weights_to_fit_and_score(rows, teacher, weights):
    search = GridSearchCV(small(), {"n_components": [2, 4]}, cv=2)
    found = split_scores(search.fit(rows, teacher, sample_weight=weights))
    for i, (train, test) in enumerate(KFold(2).split(rows)):
        for j, n_components in enumerate((2, 4)):
            fitted = small(n_components).fit(
                rows[train], teacher[train], sample_weight=weights[train]
            )
            expected = perception_coherence_score(
                teacher[test], fitted.transform(rows[test]), sample_weight=weights[test]
            )
            assert found[j, i] == expected


def test_grid_search_reports_an_invalid_candidate_and_ranks_it_last(rows, teacher):
    grid = {"n_components": [0, 2]}
    with pytest.raises(InvalidParameterError, match="'n_components' parameter of Coherence"):
        GridSearchCV(small(), grid, cv=2, error_score="raise").fit(rows, teacher)
    search = GridSearchCV(small(), grid, cv=2)
    with (
        pytest.warns(FitFailedWarning, match="2 fits failed out of a total of 4"),
        pytest.warns(UserWarning, match="non-finite"),
    ):
        search.fit(rows, teacher)
    assert np.isnan(split_scores(search)[0]).all()
    assert search.best_params_ == {"n_components": 2}
    with pytest.raises(ValueError, match="All the 2 fits failed"):
        GridSearchCV(small(), {"n_components": [0]}, cv=2).fit(rows, teacher)


def test_a_fold_can_have_fewer_rows_than_components(rows):
    search = GridSearchCV(small(), {"n_components": [rows.shape[1]]}, cv=4, error_score="raise")
    assert search.fit(rows[:24]).best_score_ > 1 - 1e-6


# Successive halving, validation curves and learning curves


def test_halving_search_can_use_max_iter_as_its_resource(rows, teacher):
    search = HalvingGridSearchCV(
        small(),
        {"n_components": [2, 4, 16]},
        resource="max_iter",
        min_resources=1,
        max_resources=6,
        factor=2,
        cv=2,
    )
    found = split_scores(search.fit(rows, teacher))
    assert search.n_iterations_ == 2
    expected = [
        by_hand(small(**candidate), rows, teacher) for candidate in search.cv_results_["params"]
    ]
    np.testing.assert_array_equal(found, expected)
    assert search.best_params_ == {"n_components": 16, "max_iter": 2}
    assert search.transform(rows).shape == (240, 16)


def test_halving_search_splits_the_teacher_as_it_splits_rows(rows, teacher):
    sizes = []

    class Checking(CoherenceDistiller):
        def fit(self, X, y=None):
            sizes.append(len(X))
            np.testing.assert_array_equal(X, y[:, :128])
            return super().fit(X, y)

    search = HalvingGridSearchCV(
        Checking(max_iter=0, device="cpu"),
        {"n_components": [2, 4, 16]},
        min_resources=80,
        factor=2,
        cv=2,
        random_state=0,
        error_score="raise",
    ).fit(rows, teacher)
    assert sorted(set(sizes)) == [40, 80, 240]
    assert search.best_params_ == {"n_components": 16}


@TEACHERS
def test_cross_val_score_equals_scores_of_held_out_rows(rows, teacher, taught):
    y = teacher if taught else None
    found = cross_val_score(small(), rows, y, cv=3)
    np.testing.assert_array_equal(found, by_hand(small(), rows, y, cv=3))


def test_validation_curve_has_a_row_for_each_value(rows, teacher):
    known, new = validation_curve(
        small(), rows, teacher, param_name="n_components", param_range=[2, 16], cv=2
    )
    np.testing.assert_array_equal(new, [by_hand(small(n), rows, teacher) for n in (2, 16)])
    assert (known > new).all()


def test_learning_curve_fits_to_the_first_rows(rows, teacher):
    _, known, new = learning_curve(small(), rows, teacher, train_sizes=[40, 120], cv=2)
    for i, (train, test) in enumerate(KFold(2).split(rows)):
        for j, size in enumerate((40, 120)):
            first = train[:size]
            fitted = small().fit(rows[first], teacher[first])
            assert known[j, i] == fitted.score(rows[first], teacher[first])
            assert new[j, i] == fitted.score(rows[test], teacher[test])


@with_routing
@pytest.mark.parametrize("incremental", [False, True])
def test_learning_curve_splits_a_routed_teacher(rows, teacher, incremental):
    requests = {"teacher_embeddings": True}
    distiller = small().set_fit_request(**requests).set_score_request(**requests)
    distiller.set_partial_fit_request(**requests)
    options = {"train_sizes": [40, 120], "cv": 2, "exploit_incremental_learning": incremental}
    params = {"teacher_embeddings": teacher}
    found = learning_curve(distiller, rows, None, params=params, **options)
    expected = learning_curve(small(), rows, teacher, **options)
    for part, same in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_array_equal(part, same)


def test_learning_curve_without_a_teacher_scores_against_the_rows(rows):
    _, _, new = learning_curve(small(), rows, None, train_sizes=[120], cv=2)
    for i, (train, test) in enumerate(KFold(2).split(rows)):
        assert new[0, i] == small().fit(rows[train]).score(rows[test])


def test_cross_val_predict_refuses_an_estimator_without_predict(rows):
    with pytest.raises(ValueError, match="implementing 'fit' and 'predict'"):
        cross_val_predict(small(), rows, method="transform")


# Searches with a scorer, for any transformer


TRANSFORMERS = {
    "distiller and another step": lambda: make_pipeline(small(8), TruncatedSVD(3, random_state=0)),
    "truncated SVD": lambda: TruncatedSVD(4, random_state=0),
    "distiller": lambda: small(),
}


@TEACHERS
@pytest.mark.parametrize("build", TRANSFORMERS.values(), ids=TRANSFORMERS.keys())
def test_a_scorer_compares_the_output_of_the_last_step(rows, teacher, build, taught):
    y = teacher if taught else None
    found = cross_val_score(build(), rows, y, cv=2, scoring=PerceptionCoherenceScorer())
    expected = by_hand(build(), rows, y)
    np.testing.assert_array_equal(found, expected)


@TEACHERS
def test_grid_search_ranks_by_its_scorer(rows, teacher, taught):
    y = teacher if taught else None
    pipeline = make_pipeline(small(metric="euclidean"), Normalizer())
    grid = {"coherencedistiller__n_components": [2, 16]}
    scorer = PerceptionCoherenceScorer(metric="euclidean")
    search = GridSearchCV(pipeline, grid, scoring=scorer, cv=2).fit(rows, y)
    euclidean = functools.partial(perception_coherence_score, metric="euclidean")
    expected = [
        by_hand(clone(pipeline).set_params(**candidate), rows, y, score=euclidean)
        for candidate in search.cv_results_["params"]
    ]
    np.testing.assert_array_equal(split_scores(search), expected)
    assert search.best_params_ == {"coherencedistiller__n_components": 16}
    assert search.transform(rows).shape == (240, 16)


@pytest.mark.parametrize(
    "labels", [lambda glosses: glosses.target[:240], lambda glosses: glosses.text[:240]]
)
def test_a_scorer_ignores_a_one_dimensional_y(glosses, rows, labels):
    svd, scorer = TruncatedSVD(4, random_state=0).fit(rows), PerceptionCoherenceScorer()
    expected = perception_coherence_score(rows, svd.transform(rows))
    assert scorer(svd, rows) == scorer(svd, rows, labels(glosses)) == expected


def test_teacher_embeddings_override_y_in_a_scorer(glosses, rows, teacher):
    svd, scorer = TruncatedSVD(4, random_state=0).fit(rows), PerceptionCoherenceScorer()
    expected = perception_coherence_score(teacher, svd.transform(rows))
    for y in (None, glosses.target[:240], rows):
        assert scorer(svd, rows, y, teacher_embeddings=teacher) == expected
    assert scorer(svd, rows) != expected


def test_a_scorer_compares_texts_with_the_teacher(glosses, teacher):
    # Texts have no dissimilarities, so the score needs a teacher.
    texts = np.array(glosses.text[:240])
    pipeline = make_pipeline(TfidfVectorizer(min_df=2), TruncatedSVD(8, random_state=0))
    scorer = PerceptionCoherenceScorer()
    found = cross_val_score(pipeline, texts, teacher, cv=2, scoring=scorer)
    expected = by_hand(pipeline, texts, teacher)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("score", "options"),
    [
        (perception_coherence_score, {"metric": "euclidean"}),
        (perception_coherence_score, {"n_anchors": 30, "n_references": 40}),
        (neighbor_recall_score, {}),
        (neighbor_recall_score, {"n_neighbors": 3, "teacher_metric": "manhattan"}),
    ],
)
def test_a_scorer_passes_its_options_to_its_score(rows, teacher, score, options):
    svd = TruncatedSVD(4, random_state=0)
    found = cross_val_score(
        svd, rows, teacher, cv=2, scoring=PerceptionCoherenceScorer(score, **options)
    )
    expected = by_hand(svd, rows, teacher, score=functools.partial(score, **options))
    np.testing.assert_array_equal(found, expected)
    default = by_hand(svd, rows, teacher)
    assert (found != default).all()


def test_a_scorer_takes_a_score_without_sample_weight(rows, teacher):
    svd = TruncatedSVD(4, random_state=0).fit(rows)
    expected = trustworthiness(teacher, svd.transform(rows))
    assert PerceptionCoherenceScorer(trustworthiness)(svd, rows, teacher) == expected


def test_grid_search_takes_several_scorers(rows, teacher):
    scores = {"coherence": perception_coherence_score, "recall": neighbor_recall_score}
    svd = TruncatedSVD(random_state=0)
    search = GridSearchCV(
        svd,
        {"n_components": [2, 16]},
        scoring={name: PerceptionCoherenceScorer(score) for name, score in scores.items()},
        refit="recall",
        cv=2,
    ).fit(rows, teacher)
    for name, score in scores.items():
        for i, n_components in enumerate((2, 16)):
            candidate = clone(svd).set_params(n_components=n_components)
            expected = by_hand(candidate, rows, teacher, score=score)
            found = [search.cv_results_[f"split{split}_test_{name}"][i] for split in range(2)]
            np.testing.assert_array_equal(found, expected)
    assert search.best_params_ == {"n_components": 16}


# Scorers as objects


def test_repr_of_a_scorer_has_its_score_and_options():
    assert repr(PerceptionCoherenceScorer()) == (
        "PerceptionCoherenceScorer(perception_coherence_score)"
    )
    scorer = PerceptionCoherenceScorer(neighbor_recall_score, n_neighbors=3, metric="manhattan")
    expected = "PerceptionCoherenceScorer(neighbor_recall_score, n_neighbors=3, metric='manhattan')"
    assert repr(scorer) == expected
    assert "PerceptionCoherenceScorer(neighbor_recall_score" in repr(
        GridSearchCV(small(), {}, scoring=scorer)
    )


def test_repr_of_a_scorer_of_a_partial_function():
    scorer = PerceptionCoherenceScorer(functools.partial(neighbor_recall_score, n_neighbors=3))
    assert "neighbor_recall_score" in repr(scorer)


COPIES = {
    "clone": lambda scorer: clone(scorer, safe=False),
    "copy": copy.copy,
    "deep copy": copy.deepcopy,
    "pickle": lambda scorer: pickle.loads(pickle.dumps(scorer)),
    "clone of a search": lambda scorer: clone(GridSearchCV(small(), {}, scoring=scorer)).scoring,
    "scikit-learn's check": lambda scorer: check_scoring(small(), scorer),
}


@with_routing
@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES.keys())
def test_a_copy_of_a_scorer_gives_the_same_scores(rows, teacher, weights, duplicate):
    scorer = PerceptionCoherenceScorer(neighbor_recall_score, n_neighbors=3)
    scorer.set_score_request(sample_weight="importance")
    copied = duplicate(scorer)
    assert repr(copied) == repr(scorer)
    svd = TruncatedSVD(4, random_state=0).fit(rows)
    expected = neighbor_recall_score(teacher, svd.transform(rows), n_neighbors=3)
    assert copied(svd, rows, teacher) == expected
    scores = cross_val_score(
        svd, rows, teacher, cv=2, scoring=copied, params={"importance": weights}
    )
    unweighted = cross_val_score(svd, rows, teacher, cv=2, scoring=copied)
    assert (scores != unweighted).all()


def test_a_scorer_gives_the_same_scores_in_other_processes(rows, teacher):
    scorer = PerceptionCoherenceScorer(neighbor_recall_score, n_neighbors=3)
    one, two = (
        GridSearchCV(
            TruncatedSVD(random_state=0),
            {"n_components": [2, 16]},
            scoring=scorer,
            cv=2,
            n_jobs=n_jobs,
        ).fit(rows, teacher)
        for n_jobs in (1, 2)
    )
    np.testing.assert_allclose(split_scores(two), split_scores(one), atol=1e-4)


# Metadata for scorers


METADATA = pytest.mark.parametrize(
    "names", [["teacher_embeddings"], ["sample_weight"], ["teacher_embeddings", "sample_weight"]]
)


# Each returns the score of every split.
VALIDATIONS = {
    "GridSearchCV": lambda estimator, X, metadata, scorer: split_scores(
        GridSearchCV(estimator, {}, cv=3, scoring=scorer).fit(X, **metadata)
    )[0],
    "cross_validate": lambda estimator, X, metadata, scorer: cross_validate(
        estimator, X, params=metadata, cv=3, scoring=scorer
    )["test_score"],
    "several scores": lambda estimator, X, metadata, scorer: cross_validate(
        estimator, X, params=metadata, cv=3, scoring={"first": scorer, "second": scorer}
    )["test_second"],
}
ALL_VALIDATIONS = pytest.mark.parametrize("validate", VALIDATIONS.values(), ids=VALIDATIONS.keys())


def scores_with(rows, metadata, score, options):
    """Scores of a truncated SVD on each split, with the metadata of the held-out rows."""
    metadata = {"teacher_embeddings": rows} | metadata
    scores = []
    for train, test in KFold(3).split(rows):
        svd = TruncatedSVD(4, random_state=0).fit(rows[train])
        known = {name: value[test] for name, value in metadata.items()}
        teacher = known.pop("teacher_embeddings")
        scores.append(score(teacher, svd.transform(rows[test]), **known, **options))
    return scores


@with_routing
@METADATA
@pytest.mark.parametrize("alias", [False, True])
@ALL_VALIDATIONS
def test_metadata_of_a_scorer_is_split_as_the_rows_are(
    rows, teacher, weights, names, alias, validate
):
    given = {"teacher_embeddings": teacher, "sample_weight": weights}
    called = {name: name.upper() if alias else name for name in names}
    scorer = PerceptionCoherenceScorer(neighbor_recall_score, n_neighbors=7)
    scorer.set_score_request(**{name: called[name] if alias else True for name in names})
    metadata = {called[name]: given[name] for name in names}
    found = validate(TruncatedSVD(4, random_state=0), rows, metadata, scorer)
    options = {"n_neighbors": 7}
    expected = scores_with(
        rows, {name: given[name] for name in names}, neighbor_recall_score, options
    )
    np.testing.assert_array_equal(found, expected)
    assert (found != scores_with(rows, {}, neighbor_recall_score, options)).all()


@with_routing
def test_fit_and_scorer_receive_the_teacher_next_to_class_labels(glosses, rows, teacher):
    distiller = small(metric="euclidean").set_fit_request(teacher_embeddings=True)
    found = cross_val_score(
        make_pipeline(distiller, Normalizer()),
        rows,
        glosses.target[:240],
        params={"teacher_embeddings": teacher},
        scoring=PerceptionCoherenceScorer().set_score_request(teacher_embeddings=True),
        cv=2,
    )
    pipeline = make_pipeline(small(metric="euclidean"), Normalizer())
    expected = by_hand(pipeline, rows, teacher)
    np.testing.assert_array_equal(found, expected)


@with_routing
@ALL_VALIDATIONS
@pytest.mark.parametrize("name", ["teacher_embeddings", "sample_weight"])
def test_a_scorer_without_a_request_refuses_metadata(rows, teacher, weights, validate, name):
    # Otherwise the scores would silently ignore the metadata that the fit uses.
    metadata = {name: {"teacher_embeddings": teacher, "sample_weight": weights}[name]}
    distiller = small().set_fit_request(**{name: True})
    with pytest.raises(UnsetMetadataPassedError, match=rf"\[{name}\].*PerceptionCoherenceScorer"):
        validate(distiller, rows, metadata, PerceptionCoherenceScorer())


@with_routing
def test_a_scorer_can_decline_metadata(rows, teacher):
    distiller = small().set_fit_request(teacher_embeddings=True)
    scorer = PerceptionCoherenceScorer().set_score_request(teacher_embeddings=False)
    found = cross_val_score(
        distiller, rows, params={"teacher_embeddings": teacher}, cv=2, scoring=scorer
    )
    for score, (train, test) in zip(found, KFold(2).split(rows), strict=True):
        fitted = small().fit(rows[train], teacher[train])
        assert score == perception_coherence_score(rows[test], fitted.transform(rows[test]))


@with_routing
def test_a_scorer_refuses_a_request_for_unknown_metadata():
    with pytest.raises(TypeError, match="weights"):
        PerceptionCoherenceScorer().set_score_request(weights=True)


def test_a_request_without_metadata_routing_is_refused():
    with pytest.raises(RuntimeError, match="enable_metadata_routing=True"):
        PerceptionCoherenceScorer().set_score_request(sample_weight=True)


def test_without_routing_a_scorer_receives_weights(rows, teacher, weights):
    scorer = PerceptionCoherenceScorer(neighbor_recall_score)
    search = GridSearchCV(small(), {}, cv=2, scoring=scorer)
    found = split_scores(search.fit(rows, teacher, sample_weight=weights))[0]
    for score, (train, test) in zip(found, KFold(2).split(rows), strict=True):
        fitted = small().fit(rows[train], teacher[train], sample_weight=weights[train])
        embedded = fitted.transform(rows[test])
        assert score == neighbor_recall_score(teacher[test], embedded, sample_weight=weights[test])


def test_without_routing_several_scorers_receive_weights(rows, teacher, weights):
    scorers = {name: PerceptionCoherenceScorer() for name in ("first", "second")}
    search = GridSearchCV(small(), {}, cv=2, scoring=scorers, refit="first")
    results = search.fit(rows, teacher, sample_weight=weights).cv_results_
    alone = GridSearchCV(small(), {}, cv=2, scoring=scorers["first"])
    expected = alone.fit(rows, teacher, sample_weight=weights).cv_results_["mean_test_score"]
    np.testing.assert_array_equal(results["mean_test_first"], expected)
    np.testing.assert_array_equal(results["mean_test_second"], expected)


# Many rows


@pytest.fixture
def entries(monkeypatch):
    """Number of dissimilarities that each call of a score computes."""
    counts = []
    original = _representations.order_to_references

    def counting(references, metric):
        dissimilarities = original(references, metric)

        def from_anchors(anchors):
            counts.append(len(anchors) * len(references))
            return dissimilarities(anchors)

        return from_anchors

    monkeypatch.setattr(_representations, "order_to_references", counting)
    return counts


def test_score_of_many_rows_is_sampled_and_repeatable(many_rows, entries):
    distiller = small(max_iter=0).fit(many_rows[:200])
    score = distiller.score(many_rows)
    assert 0 < sum(entries) < len(many_rows) ** 2 / 10
    assert score == PerceptionCoherenceScorer()(distiller, many_rows)
    embedded = distiller.transform(many_rows)
    assert score == perception_coherence_score(many_rows, embedded)
    assert score != perception_coherence_score(many_rows, embedded, random_state=1)


def test_scores_of_large_folds_are_sampled_and_repeatable(many_rows, entries):
    distiller = small(max_iter=0)
    found = cross_val_score(distiller, many_rows, cv=2)
    # Fewer than all pairs of a single fold.
    assert 0 < sum(entries) < (len(many_rows) / 2) ** 2
    again = cross_val_score(distiller, many_rows, cv=2, scoring=PerceptionCoherenceScorer())
    np.testing.assert_array_equal(found, again)


def test_recall_of_many_rows_uses_a_sample_of_anchors(many_rows, entries):
    svd = TruncatedSVD(4, random_state=0).fit(many_rows[:200])
    score = PerceptionCoherenceScorer(neighbor_recall_score)(svd, many_rows)
    # 1,000 anchors, for teacher and student.
    assert 0 < sum(entries) <= 2 * 1000 * len(many_rows)
    assert score > 10 / len(many_rows)
