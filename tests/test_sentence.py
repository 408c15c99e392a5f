import numpy as np
import pytest
import torch
from builders import small

from skperco import CoherenceDistiller, CoherenceQuantizer
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


@pytest.mark.parametrize("method", ["product", "residual", "int8", "binary"])
def test_encode_returns_codes_of_documents_and_exact_queries(texts, encoder, method, tmp_path):
    from skperco.sentence import CodeModule

    embeddings = encoder.encode(texts)
    quantizer = CoherenceQuantizer(4, method=method, beam_width=1, random_state=0, device="cpu")
    quantizer.fit(embeddings)
    coding = sentence_transformers.SentenceTransformer(
        modules=[*encoder, CodeModule(quantizer)], device="cpu"
    )
    coding.save(str(tmp_path / "model"))
    loaded = sentence_transformers.SentenceTransformer(
        str(tmp_path / "model"), device="cpu", trust_remote_code=True
    )
    for model in (coding, loaded):
        for encode in (model.encode, model.encode_document):
            codes = encode(texts)
            assert codes.dtype == np.uint8
            # Rounding can move a row at the border of two cells.
            assert (codes == quantizer.encode(embeddings)).mean() > 0.99
        exact = quantizer.transform_queries(embeddings)
        np.testing.assert_allclose(model.encode_query(texts), exact, atol=1e-6)
        assert model.get_embedding_dimension() == 4


@pytest.mark.parametrize(
    ("name", "file"), [("StudentModule", "student"), ("CodeModule", "quantizer")]
)
def test_loading_a_folder_without_an_estimator_raises_an_error(name, file, tmp_path):
    import skperco.sentence

    with pytest.raises(OSError, match=rf"no {file}\.safetensors"):
        getattr(skperco.sentence, name).load(str(tmp_path))


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
