import numpy as np
import pytest
import torch
from builders import small

from skperco import CoherenceDistiller
from skperco.datasets import load_wordnet_glosses

sentence_transformers = pytest.importorskip("sentence_transformers")
tokenizers = pytest.importorskip("tokenizers")

N_FEATURES = 32


@pytest.fixture(scope="module")
def texts():
    return list(load_wordnet_glosses().text[:500])


@pytest.fixture(scope="module")
def encoder(texts):
    """A text encoder that needs no download: means of random word vectors."""
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    words = sorted({word for text in texts for word in text.lower().split()})
    model = tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, words[0])
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    weights = np.random.default_rng(0).normal(size=(len(words), N_FEATURES)).astype(np.float32)
    return sentence_transformers.SentenceTransformer(
        modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu"
    )


@pytest.mark.parametrize("parameters", [{}, {"student": "mlp"}, {"metric": "euclidean"}], ids=str)
def test_encode_returns_the_small_embeddings(texts, encoder, parameters, tmp_path):
    from skperco.sentence import StudentModule

    embeddings = encoder.encode(texts)
    distiller = small(8, **parameters).fit(embeddings)
    module = StudentModule(distiller)
    encoding = sentence_transformers.SentenceTransformer(modules=[*encoder, module], device="cpu")
    expected = distiller.transform(embeddings)
    np.testing.assert_allclose(encoding.encode(texts), expected, atol=1e-6)
    assert encoding.get_embedding_dimension() == 8
    encoding.save(str(tmp_path / "model"))
    again = sentence_transformers.SentenceTransformer(
        str(tmp_path / "model"), device="cpu", trust_remote_code=True
    )
    np.testing.assert_allclose(again.encode(texts), expected, atol=1e-6)


def test_loading_a_folder_without_a_student_raises_an_error(tmp_path):
    from skperco.sentence import StudentModule

    with pytest.raises(OSError, match=r"no student\.safetensors"):
        StudentModule.load(str(tmp_path))


def test_save_writes_the_weights_after_further_training(texts, encoder, tmp_path):
    from skperco.sentence import StudentModule

    embeddings = encoder.encode(texts)
    fitted = small().fit(embeddings)
    before = fitted.transform(embeddings)
    module = StudentModule(fitted)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1)
    expected = module({"sentence_embedding": torch.from_numpy(embeddings)})["sentence_embedding"]
    module.save(str(tmp_path))
    loaded = CoherenceDistiller.load(tmp_path / "student.safetensors").transform(embeddings)
    np.testing.assert_allclose(loaded, expected.detach(), atol=1e-6)
    assert np.abs(loaded - before).max() > 0.01
    np.testing.assert_array_equal(fitted.transform(embeddings), before)
