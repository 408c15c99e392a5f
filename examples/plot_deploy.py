"""
Deploy a fitted student
=======================

A fitted student is appended to a text encoder, so that one call returns 64-dimensional embeddings
of texts; it is saved to a file without pickle and exported to ONNX, to run without Python.
"""

# %%
# The text encoder is built here, so that nothing has to be downloaded. It is a static embedding:
# each word has a vector, a text is encoded as the mean of the vectors of its words, and ridge
# regression fits the vectors to sentence embeddings. With an encoder from a model hub, only these
# lines change.

from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import onnxruntime
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import Ridge
from sklearn.preprocessing import normalize
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from skperco import CoherenceDistiller
from skperco.datasets import load_wordnet_glosses
from skperco.sentence import StudentModule

glosses = load_wordnet_glosses()
texts = list(glosses.text)
words = CountVectorizer(token_pattern=r"\w+", min_df=2)
counts = normalize(words.fit_transform(texts), norm="l1")
vectors = Ridge(alpha=0.1, fit_intercept=False).fit(counts, glosses.data).coef_.T

tokens = {word: index + 1 for word, index in words.vocabulary_.items()}
tokenizer = Tokenizer(models.WordLevel({"": 0} | tokens, unk_token=""))
tokenizer.normalizer = normalizers.Lowercase()
tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\W+"), "removed")
weights = np.zeros((1 + len(vectors), vectors.shape[1]), dtype=np.float32)
weights[1:] = vectors
encoder = SentenceTransformer(
    modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu"
)
print(encoder.encode(texts[:2]).shape)

# %%
# The student compresses the embeddings of the encoder.

embeddings = encoder.encode(texts)
distiller = CoherenceDistiller(64, random_state=0).fit(embeddings)
print(f"{distiller.n_components_} of {embeddings.shape[1]} dimensions")
print(f"coherence {distiller.score(embeddings):.3f}")

# %%
# A text encoder that returns 64 dimensions, saved to a folder and loaded from it.

folder = Path(mkdtemp())
small = SentenceTransformer(modules=[*encoder, StudentModule(distiller)], device="cpu")
small.save(str(folder / "encoder"))
again = SentenceTransformer(str(folder / "encoder"), device="cpu", trust_remote_code=True)
query = ["a large bird that cannot fly"]
nearest = (again.encode(query) @ small.encode(texts).T).argsort()[0, ::-1][:3]
print(*(f"- {texts[index]}" for index in nearest), sep="\n")

# %%
# A file without code, so that loading it executes nothing.

distiller.save(folder / "student.safetensors")
loaded = CoherenceDistiller.load(folder / "student.safetensors")
print("bit-identical:", (loaded.transform(embeddings) == distiller.transform(embeddings)).all())

# %%
# An ONNX model, for runtimes in C++, C#, Java, JavaScript, Swift or Rust.

distiller.to_onnx(folder / "student.onnx")
session = onnxruntime.InferenceSession(folder / "student.onnx")
(found,) = session.run(["embeddings"], {"rows": embeddings})
print(f"largest difference: {np.abs(found - distiller.transform(embeddings)).max():.0e}")
