"""Parameters of the training: learning rate, ridge strengths, dropout, tolerance, batch size."""

import numpy as np
import pytest
import torch
from builders import small

from skperco.datasets import load_wordnet_glosses


@pytest.fixture(scope="module")
def rows():
    return load_wordnet_glosses().data[:300]


def compression(rows):
    return (rows,)


def transfer(rows):
    return rows[:, ::4].copy(), rows


def embeddings_of(columns, **parameters):
    parameters = {"early_stopping": False, "max_iter": 5} | parameters
    return small(**parameters).fit(*columns).transform(columns[0])


def linear_module(n_features, n_components):
    return torch.nn.Linear(n_features, n_components)


@pytest.mark.parametrize(
    ("columns_of", "student", "rate"),
    [
        (compression, "linear", 0.1),
        (compression, "mlp", 0.1),
        (transfer, "linear", 0.03),
        (transfer, "mlp", 0.03),
        (compression, linear_module, 0.03),
        (transfer, linear_module, 0.03),
    ],
)
def test_the_automatic_learning_rate_depends_on_the_task(rows, columns_of, student, rate):
    columns = columns_of(rows)
    automatic = embeddings_of(columns, student=student)
    np.testing.assert_array_equal(
        automatic, embeddings_of(columns, student=student, learning_rate_init=rate)
    )
    other = embeddings_of(columns, student=student, learning_rate_init=2 * rate)
    assert np.abs(automatic - other).max() > 1e-4


def test_dropout_applies_to_transfers_only(rows):
    unchanged = [embeddings_of(compression(rows), dropout=value) for value in (0.0, 0.5)]
    np.testing.assert_array_equal(*unchanged)
    changed = [embeddings_of(transfer(rows), dropout=value) for value in (0.0, 0.5)]
    assert np.abs(changed[0] - changed[1]).max() > 1e-4


@pytest.mark.parametrize("early_stopping", [True, False])
def test_the_ridge_strength_is_one_of_alphas(rows, early_stopping):
    alphas = np.array([2.0, 0.3, 0.02])
    distiller = small(alphas=alphas, early_stopping=early_stopping).fit(*transfer(rows))
    assert distiller.alpha_ in alphas
    assert isinstance(distiller.alpha_, float)
    (only,) = (alpha for alpha in alphas if alpha == distiller.alpha_)
    again = small(alphas=[only], early_stopping=early_stopping).fit(*transfer(rows))
    assert again.alpha_ == only
    if not early_stopping:
        np.testing.assert_array_equal(
            again.transform(rows[:, ::4]), distiller.transform(rows[:, ::4])
        )


def test_the_order_of_alphas_does_not_matter(rows):
    found = [small(alphas=alphas).fit(*transfer(rows)) for alphas in ([1, 0.1], (0.1, 1.0))]
    assert found[0].alpha_ == found[1].alpha_
    np.testing.assert_array_equal(*(one.transform(rows[:, ::4]) for one in found))


def test_there_is_no_ridge_strength_without_a_regression(rows):
    assert small().fit(rows).alpha_ is None
    module = small(student=linear_module).fit(*transfer(rows))
    assert module.alpha_ is None
    linear = small().fit(*transfer(rows))
    assert linear.set_params(warm_start=True).fit(*transfer(rows)).alpha_ is None


@pytest.mark.parametrize(
    "alphas", [(), 1.0, [1.0, 0.0], [-1.0], [np.nan], [np.inf], ["1"], [[1.0]], [True], None]
)
def test_invalid_alphas_are_named(rows, alphas):
    with pytest.raises(ValueError, match="alphas"):
        small(alphas=alphas).fit(*transfer(rows))


@pytest.mark.parametrize("columns_of", [compression, transfer])
@pytest.mark.parametrize("tol", [0.0, 5e-4, 0.02])
def test_the_chosen_student_loses_at_most_tol_of_coherence(rows, columns_of, tol):
    distiller = small(tol=tol, max_iter=40, learning_rate_init=0.3).fit(*columns_of(rows))
    chosen = distiller.validation_fractions_.index(distiller.fraction_)
    scores = distiller.validation_scores_
    assert scores[chosen] >= scores[0] - tol


@pytest.mark.parametrize(("batch_size", "n_rows"), [(32, 32), (7, 7), (1000, 256)])
def test_the_initialization_of_a_module_obeys_batch_size(rows, batch_size, n_rows):
    sizes = []

    class Spy(torch.nn.Linear):
        def forward(self, X):
            if self.training:
                sizes.append(len(X))
            return super().forward(X)

    small(4, student=Spy, batch_size=batch_size, early_stopping=False, max_iter=3).fit(rows)
    assert sizes[: 4 * 3] == 4 * 3 * [n_rows]


def test_the_initialization_of_a_module_obeys_the_learning_rate(rows):
    torch.manual_seed(0)
    module = torch.nn.Linear(rows.shape[1], 4)
    moved = []
    for rate in (1e-4, 1e-2):
        parameters = {"learning_rate_init": rate, "max_iter": 1, "early_stopping": False}
        fitted = small(student=module, **parameters).fit(rows).student_
        moved.append((fitted.weight - module.weight).norm().item())
    assert 0 < moved[0] < 0.1 * moved[1]
