"""
From a fit to a service
=======================

A student that was fitted here is saved without pickle, becomes an ONNX model that runs without
Python, and stands behind a text encoder, so that one call makes 64 numbers of a text.
"""

# %%
# The text encoder is made here, so that nothing is downloaded: every word has a vector, a text has
# the mean of those of its words, and the vectors are such that texts come near their sentence
# embeddings. With an encoder from a model hub only these lines change.

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

numbers = {word: number + 1 for word, number in words.vocabulary_.items()}
tokenizer = Tokenizer(models.WordLevel({"": 0} | numbers, unk_token=""))
tokenizer.normalizer = normalizers.Lowercase()
tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\W+"), "removed")
weights = np.zeros((1 + len(vectors), vectors.shape[1]), dtype=np.float32)
weights[1:] = vectors
encoder = SentenceTransformer(
    modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu"
)
print(encoder.encode(texts[:2]).shape)

# %%
# Small embeddings, fitted to what the encoder says. From here on it is five lines.

embeddings = encoder.encode(texts)
distiller = CoherenceDistiller(64, random_state=0).fit(embeddings)
print(f"coherence {distiller.score(embeddings):.3f} in a sixth of the numbers")

# %%
# One ``encode`` from text to 64 numbers, and the same from a folder.

folder = Path(mkdtemp())
small = SentenceTransformer(modules=[*encoder, StudentModule(distiller)], device="cpu")
small.save(str(folder / "encoder"))
again = SentenceTransformer(str(folder / "encoder"), device="cpu", trust_remote_code=True)
query = ["a large bird that cannot fly"]
nearest = (again.encode(query) @ small.encode(texts).T).argsort()[0, ::-1][:3]
print(*(f"- {texts[number]}" for number in nearest), sep="\n")

# %%
# A file that holds no code, to be loaded by people who do not know who made it.

distiller.save(folder / "student.safetensors")
loaded = CoherenceDistiller.load(folder / "student.safetensors")
print("bit for bit:", (loaded.transform(embeddings) == distiller.transform(embeddings)).all())

# %%
# An ONNX model, for C++, C#, Java, JavaScript, Swift or Rust.

distiller.to_onnx(folder / "student.onnx")
session = onnxruntime.InferenceSession(folder / "student.onnx")
(found,) = session.run(["embeddings"], {"rows": embeddings})
print(f"largest difference: {np.abs(found - distiller.transform(embeddings)).max():.0e}")
