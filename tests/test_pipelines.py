from functools import partial

import numpy as np
import pytest
from builders import small, with_routing
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skperco import CoherenceDistiller, perception_coherence_score


@pytest.fixture(scope="module")
def new_rows(glosses):
    return glosses.data[240:340, :128]


@pytest.fixture(scope="module")
def labels(glosses):
    """Whether the defined word is a noun."""
    return np.char.startswith(glosses.target_names[glosses.target[:240]].astype(str), "noun")


# Without early stopping, since the folds are too small to hold rows out.
small = partial(small, max_iter=4, early_stopping=False)


def with_requests(distiller, **requests):
    """The distiller with requests for all metadata, of fit and of score."""
    requests = {"teacher_embeddings": True, "sample_weight": True} | requests
    return distiller.set_fit_request(**requests).set_score_request(**requests)


def classifier(distiller, **requests):
    """A classifier of the embeddings."""
    step = LogisticRegression()
    return make_pipeline(distiller, step.set_fit_request(**requests) if requests else step)


# Class labels


def test_a_classifier_of_embeddings_beats_the_majority_class(glosses):
    X, y = glosses.data, glosses.target
    pipeline = make_pipeline(small(32), LogisticRegression(max_iter=1000)).fit(X[:600], y[:600])
    most_frequent = np.bincount(y[:600]).argmax()
    accuracy = pipeline.score(X[600:1600], y[600:1600])
    assert accuracy > 2 * np.mean(y[600:1600] == most_frequent)


def test_class_labels_do_not_change_the_embeddings(rows, new_rows, labels):
    pipeline = classifier(small()).fit(rows, labels)
    compressed = pipeline[:-1].transform(new_rows)
    assert compressed.shape == (100, 4)
    np.testing.assert_array_equal(compressed, small().fit(rows).transform(new_rows))


def test_a_pipeline_with_memory_gives_the_same_results(rows, new_rows, labels, tmp_path):
    expected = classifier(small()).fit(rows, labels).predict_proba(new_rows)
    for _ in range(2):
        pipeline = classifier(small()).set_params(memory=str(tmp_path)).fit(rows, labels)
        np.testing.assert_array_equal(pipeline.predict_proba(new_rows), expected)


# A teacher given as y


def test_a_two_dimensional_y_is_the_teacher_after_another_step(glosses, teacher):
    texts, new_texts = glosses.text[:240], glosses.text[240:340]
    pipeline = make_pipeline(TfidfVectorizer(min_df=2), small()).fit(texts, teacher)
    words = TfidfVectorizer(min_df=2)
    alone = small().fit(words.fit_transform(texts), teacher)
    np.testing.assert_array_equal(
        pipeline.transform(new_texts), alone.transform(words.transform(new_texts))
    )
    expected = alone.score(words.transform(new_texts), glosses.data[240:340])
    assert pipeline.score(new_texts, glosses.data[240:340]) == expected


@pytest.mark.parametrize("compose", [ColumnTransformer, FeatureUnion])
def test_a_two_dimensional_y_is_the_teacher_of_parallel_steps(rows, new_rows, teacher, compose):
    steps = [("first", small(4)), ("second", small(3))]
    if compose is ColumnTransformer:
        steps = [(*step, slice(0, 128)) for step in steps]
    found = compose(steps).fit(rows, teacher).transform(new_rows)
    alone = [small(n).fit(rows, teacher).transform(new_rows) for n in (4, 3)]
    np.testing.assert_array_equal(found, np.hstack(alone))


# Metadata by name


def no_score(estimator, X, y=None):
    return 0.0


# Each passes all columns to the distiller and returns its embeddings.
CARRIERS = {
    "Pipeline": lambda distiller: make_pipeline(distiller),
    "Pipeline with a later step": lambda distiller: make_pipeline(distiller, "passthrough"),
    "ColumnTransformer": lambda distiller: ColumnTransformer([("small", distiller, slice(0, 128))]),
    "FeatureUnion": lambda distiller: FeatureUnion([("small", distiller)]),
    "GridSearchCV": lambda distiller: GridSearchCV(
        distiller, {"n_components": [4]}, cv=2, error_score="raise"
    ),
    "all at once": lambda distiller: GridSearchCV(
        make_pipeline(
            ColumnTransformer([("all", FeatureUnion([("small", distiller)]), slice(0, 128))])
        ),
        {},
        cv=2,
        scoring=no_score,
        error_score="raise",
    ),
}
ALL_CARRIERS = pytest.mark.parametrize("carry", CARRIERS.values(), ids=CARRIERS.keys())


@with_routing
@ALL_CARRIERS
@pytest.mark.parametrize(
    "names", [["teacher_embeddings"], ["sample_weight"], ["teacher_embeddings", "sample_weight"]]
)
def test_composite_estimators_pass_metadata_to_the_distiller(
    rows, new_rows, teacher, weights, carry, names
):
    given = {"teacher_embeddings": teacher, "sample_weight": weights}
    metadata = {name: given[name] for name in names}
    found = carry(with_requests(small())).fit(rows, **metadata).transform(new_rows)
    np.testing.assert_array_equal(found, small().fit(rows, **metadata).transform(new_rows))
    assert not np.allclose(found, small().fit(rows).transform(new_rows), atol=1e-2)


@with_routing
@ALL_CARRIERS
def test_composite_estimators_pass_the_teacher_next_to_class_labels(
    rows, new_rows, teacher, weights, labels, carry
):
    metadata = {"teacher_embeddings": teacher, "sample_weight": weights}
    found = carry(with_requests(small())).fit(rows, labels, **metadata).transform(new_rows)
    np.testing.assert_array_equal(found, small().fit(rows, **metadata).transform(new_rows))


@with_routing
@pytest.mark.parametrize("weighted", [False, True])
def test_the_classifier_receives_the_labels_and_the_distiller_the_teacher(
    rows, new_rows, teacher, weights, labels, weighted
):
    pipeline = classifier(with_requests(small()), sample_weight=weighted)
    pipeline.fit(rows, labels, teacher_embeddings=teacher, sample_weight=weights)
    distiller = small().fit(rows, teacher_embeddings=teacher, sample_weight=weights)
    alone = LogisticRegression().fit(
        distiller.transform(rows), labels, sample_weight=weights if weighted else None
    )
    expected = alone.predict_proba(distiller.transform(new_rows))
    np.testing.assert_array_equal(pipeline.predict_proba(new_rows), expected)


@with_routing
def test_aliases_route_a_teacher_to_each_of_two_distillers(rows, new_rows, teacher):
    teachers = {"meaning": teacher, "detail": teacher[:, 200:230]}
    union = FeatureUnion(
        [(name, small().set_fit_request(teacher_embeddings=name)) for name in teachers]
    )
    found = union.fit(rows, **teachers).transform(new_rows)
    alone = [small().fit(rows, each).transform(new_rows) for each in teachers.values()]
    np.testing.assert_array_equal(found, np.hstack(alone))
    assert not np.allclose(*alone, atol=1e-2)


@with_routing
@ALL_CARRIERS
@pytest.mark.parametrize("name", ["teacher_embeddings", "sample_weight"])
def test_metadata_without_a_request_is_refused(rows, teacher, weights, carry, name):
    metadata = {"teacher_embeddings": teacher, "sample_weight": weights}
    with pytest.raises(UnsetMetadataPassedError, match=rf"\[{name}\].*CoherenceDistiller\.fit"):
        carry(small()).fit(rows, **{name: metadata[name]})


@with_routing
def test_a_distiller_can_decline_the_teacher(rows, new_rows, teacher):
    steps = {"alone": False, "taught": True}
    union = FeatureUnion(
        [(name, small().set_fit_request(teacher_embeddings=ask)) for name, ask in steps.items()]
    )
    found = union.fit(rows, teacher_embeddings=teacher).transform(new_rows)
    expected = [small().fit(rows, each).transform(new_rows) for each in (None, teacher)]
    np.testing.assert_array_equal(found, np.hstack(expected))


@with_routing
def test_score_of_a_pipeline_receives_teacher_and_weights(glosses, rows, new_rows, teacher):
    new_teacher = glosses.data[240:340]
    pipeline = make_pipeline(StandardScaler(), with_requests(small()))
    pipeline.fit(rows, teacher_embeddings=teacher)
    weights = np.arange(100)
    found = pipeline.score(new_rows, teacher_embeddings=new_teacher, sample_weight=weights)
    embedded = pipeline.transform(new_rows)
    assert found == perception_coherence_score(new_teacher, embedded, sample_weight=weights)


def test_without_routing_metadata_is_passed_by_the_name_of_the_step(
    rows, new_rows, teacher, weights, labels
):
    metadata = {"teacher_embeddings": teacher, "sample_weight": weights}
    by_step = {f"coherencedistiller__{name}": value for name, value in metadata.items()}
    pipeline = classifier(small()).fit(rows, labels, **by_step)
    expected = small().fit(rows, **metadata).transform(new_rows)
    np.testing.assert_array_equal(pipeline[:-1].transform(new_rows), expected)


# Metadata under cross-validation


@with_routing
@pytest.mark.parametrize("shuffle", [False, True])
def test_cross_validation_splits_metadata_as_it_splits_rows(
    rows, new_rows, teacher, weights, shuffle
):
    splits = KFold(3, shuffle=shuffle, random_state=0 if shuffle else None)
    found = cross_validate(
        make_pipeline(with_requests(small())),
        rows,
        params={"teacher_embeddings": teacher, "sample_weight": weights},
        cv=splits,
        return_estimator=True,
    )
    for estimator, score, (train, test) in zip(
        found["estimator"], found["test_score"], splits.split(rows), strict=True
    ):
        alone = small().fit(rows[train], teacher[train], sample_weight=weights[train])
        np.testing.assert_array_equal(estimator.transform(new_rows), alone.transform(new_rows))
        embedded = alone.transform(rows[test])
        assert score == perception_coherence_score(
            teacher[test], embedded, sample_weight=weights[test]
        )


@with_routing
def test_grid_search_splits_metadata_as_it_splits_rows(rows, teacher, weights):
    metadata = {"teacher_embeddings": teacher, "sample_weight": weights}
    union = FeatureUnion([("small", with_requests(small()))])
    search = GridSearchCV(
        make_pipeline(union, with_requests(small(2))),
        {"featureunion__small__n_components": [4, 9]},
        cv=3,
    )
    results = search.fit(rows, **metadata).cv_results_
    for i, (train, test) in enumerate(KFold(3).split(rows)):
        for j, n_components in enumerate((4, 9)):
            known = {"teacher_embeddings": teacher[train], "sample_weight": weights[train]}
            first = small(n_components).fit(rows[train], **known)
            second = small(2).fit(first.transform(rows[train]), **known)
            expected = second.score(
                first.transform(rows[test]), teacher[test], sample_weight=weights[test]
            )
            assert results[f"split{i}_test_score"][j] == expected


@pytest.fixture
def recording():
    """A distiller whose clones append the arguments of fit to a list, and that list."""
    given = []

    class Recording(CoherenceDistiller):
        def fit(self, X, y=None, *, teacher_embeddings=None, sample_weight=None):
            given.append((X, y, teacher_embeddings, sample_weight))
            return super().fit(
                X, y, teacher_embeddings=teacher_embeddings, sample_weight=sample_weight
            )

    return Recording(4, max_iter=0, device="cpu"), given


@with_routing
@pytest.mark.parametrize("carrier", ["Pipeline", "ColumnTransformer", "FeatureUnion"])
@pytest.mark.parametrize("validate", ["GridSearchCV", "cross_validate"])
def test_rows_labels_teacher_and_weights_of_every_fold_belong_together(
    rows, teacher, weights, labels, recording, carrier, validate
):
    distiller, given = recording
    requesting = distiller.set_fit_request(teacher_embeddings=True, sample_weight=True)
    labeled = LogisticRegression().set_fit_request(sample_weight=True)
    labeled.set_score_request(sample_weight=True)
    pipeline = make_pipeline(CARRIERS[carrier](requesting), labeled)
    metadata = {"teacher_embeddings": teacher, "sample_weight": weights}
    splits = KFold(3, shuffle=True, random_state=0)
    folds = [train for train, _ in splits.split(rows)]
    if validate == "GridSearchCV":
        GridSearchCV(pipeline, {}, cv=splits).fit(rows, labels, **metadata)
        folds.append(np.arange(240))
    else:
        cross_validate(pipeline, rows, labels, params=metadata, cv=splits)
    assert len(given) == len(folds)
    for fold, found in zip(folds, given, strict=True):
        for expected, part in zip((rows, labels, teacher, weights), found, strict=True):
            np.testing.assert_array_equal(part, expected[fold])


@with_routing
def test_cross_validation_refuses_metadata_without_a_request(rows, teacher):
    with pytest.raises(UnsetMetadataPassedError, match=r"CoherenceDistiller\.fit"):
        cross_validate(small(), rows, params={"teacher_embeddings": teacher})
    only_to_fit = small().set_fit_request(teacher_embeddings=True)
    with pytest.raises(UnsetMetadataPassedError, match=r"CoherenceDistiller\.score"):
        cross_validate(only_to_fit, rows, params={"teacher_embeddings": teacher})


def test_without_routing_cross_validation_splits_the_teacher(rows, new_rows, teacher):
    found = cross_validate(
        small(), rows, params={"teacher_embeddings": teacher}, cv=3, return_estimator=True
    )
    for estimator, (train, _) in zip(found["estimator"], KFold(3).split(rows), strict=True):
        alone = small().fit(rows[train], teacher[train])
        np.testing.assert_array_equal(estimator.transform(new_rows), alone.transform(new_rows))


# Names of features


def test_names_of_the_outputs_of_a_pipeline(rows):
    pipeline = make_pipeline(StandardScaler(), small(3)).fit(rows)
    expected = ["coherencedistiller0", "coherencedistiller1", "coherencedistiller2"]
    assert pipeline.get_feature_names_out().tolist() == expected


def test_column_transformer_and_union_prefix_names_with_the_step(rows):
    columns = ColumnTransformer(
        [("small", small(2), slice(0, 100)), ("as_is", "passthrough", [126, 127])]
    ).fit(rows)
    expected = ["small__coherencedistiller0", "small__coherencedistiller1"]
    assert columns.get_feature_names_out().tolist() == [*expected, "as_is__x126", "as_is__x127"]
    union = FeatureUnion([("one", small(1)), ("two", small(2))]).fit(rows)
    assert union.get_feature_names_out().tolist() == [
        "one__coherencedistiller0",
        "two__coherencedistiller0",
        "two__coherencedistiller1",
    ]


# Data frames


def composed():
    """A pipeline with distillers in a ColumnTransformer, in a FeatureUnion and as its last step."""
    columns = ColumnTransformer(
        [("small", small(5), [f"d{i}" for i in range(100)]), ("as_is", "passthrough", ["d127"])]
    )
    union = FeatureUnion([("one", small(2)), ("two", small(1))])
    return Pipeline([("columns", columns), ("union", union), ("last", small(2))])


def test_a_pipeline_returns_pandas_data_frames(rows, teacher):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(rows, columns=[f"d{i}" for i in range(128)], index=np.arange(240) + 7)
    expected = composed().fit(frame, teacher).transform(frame)
    assert isinstance(expected, np.ndarray)
    pipeline = composed().set_output(transform="pandas")
    for found in (pipeline.fit_transform(frame, teacher), pipeline.transform(frame)):
        assert isinstance(found, pandas.DataFrame)
        assert found.columns.tolist() == ["coherencedistiller0", "coherencedistiller1"]
        assert found.index.equals(frame.index)
        np.testing.assert_array_equal(found, expected)
    between = pipeline[:-1].transform(frame)
    assert between.columns.tolist() == pipeline[:-1].get_feature_names_out().tolist()
    assert pipeline[-1].feature_names_in_.tolist() == between.columns.tolist()


def test_a_pipeline_returns_polars_data_frames(rows, teacher):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(rows, schema=[f"d{i}" for i in range(128)])
    expected = composed().fit(frame, teacher).transform(frame)
    assert isinstance(expected, np.ndarray)
    pipeline = composed().set_output(transform="polars")
    for found in (pipeline.fit_transform(frame, teacher), pipeline.transform(frame)):
        assert isinstance(found, polars.DataFrame)
        assert found.columns == ["coherencedistiller0", "coherencedistiller1"]
        np.testing.assert_array_equal(found.to_numpy(), expected)
    between = pipeline[:-1].transform(frame)
    assert between.columns == pipeline[:-1].get_feature_names_out().tolist()


@with_routing
def test_metadata_frames_are_split_by_position(rows, teacher, weights):
    # An index that differs from the positions, so that splitting by label would mix rows up.
    pandas = pytest.importorskip("pandas")
    index = np.roll(np.arange(240), 9)
    frame, teacher_frame = (pandas.DataFrame(each, index=index) for each in (rows, teacher))
    series = pandas.Series(weights, index=index)
    found, expected = (
        cross_validate(
            with_requests(small()),
            X,
            params={"teacher_embeddings": taught, "sample_weight": weighted},
            cv=2,
        )["test_score"]
        for X, taught, weighted in ((frame, teacher_frame, series), (rows, teacher, weights))
    )
    np.testing.assert_array_equal(found, expected)
