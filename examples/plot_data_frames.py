"""
Compress columns of a data frame
================================

Embeddings are often columns of a data frame, next to other columns that should not change. With
scikit-learn's ``set_output``, :class:`~skperco.CoherenceDistiller` returns data frames of pandas or
polars with named columns. In a ``ColumnTransformer`` it compresses the columns of the embedding and
leaves the others unchanged.
"""

import numpy as np
import pandas as pd
import polars as pl
from sklearn.compose import ColumnTransformer

from skperco import CoherenceDistiller
from skperco.datasets import load_wordnet_glosses

# %%
# A data frame with words, their categories and, in 384 columns, the embeddings of their WordNet
# definitions. To keep the example fast, it uses only 2,000 rows and 10 training steps.

glosses = load_wordnet_glosses()
embedding = [f"embedding{i}" for i in range(glosses.data.shape[1])]
columns = {"word": glosses.names, "category": glosses.target_names[glosses.target]}
columns |= dict(zip(embedding, glosses.data.T, strict=True))
table = pd.DataFrame(columns).head(2000)
print(table.iloc[:4, :5].round(3).to_string())
print(f"\n{table.shape[0]:,} rows, {table.shape[1]} columns")

# %%
# The output is a pandas data frame. Its columns are named after the class, and their dtype is that
# of the input.

distiller = CoherenceDistiller(n_components=8, max_iter=10, random_state=0)
distiller.set_output(transform="pandas").fit(table[embedding])
small = distiller.transform(table[embedding])
print(small.iloc[:4, :4].round(3).to_string())
print(f"\nnames: {', '.join(distiller.get_feature_names_out()[:3])}, ...")
print(f"dtype: {', '.join({str(dtype) for dtype in small.dtypes})}")

# %%
# The names of the input columns are stored. A data frame whose columns are in another order raises
# an error instead of giving wrong results.

try:
    distiller.transform(table[embedding[::-1]])
except ValueError as error:
    print(error)

# %%
# A ``ColumnTransformer`` compresses the columns of the embedding and passes the others through,
# including those with text. The new columns get shorter names.


def short(step, column):
    return column.replace("coherencedistiller", step)


compress = ColumnTransformer(
    [("small", distiller, embedding)], remainder="passthrough", verbose_feature_names_out=short
)
compress.set_output(transform="pandas").fit(table)
by_pandas = compress.transform(table)
shown = ["word", "category", "small0", "small1", "small2"]
print(by_pandas[shown].head(4).round(3).to_string())
print(f"\n{by_pandas.shape[0]:,} rows, {by_pandas.shape[1]} columns")

# %%
# The same for polars.

polars_table = pl.DataFrame(columns).head(2000)
compress.set_output(transform="polars").fit(polars_table)
by_polars = compress.transform(polars_table)
print(by_polars[shown].head(4))

# %%
# The results are equal, up to rounding.

compressed = [f"small{i}" for i in range(8)]
difference = np.abs(by_polars[compressed].to_numpy() - by_pandas[compressed].to_numpy()).max()
print(f"largest difference: {difference:.0e}")

# %%
# Size of the data frames in memory, with the columns of words and categories.

row = "{:<12} {:>8} {:>8}".format
header = row("", "columns", "MB")
print(f"{header}\n{'-' * len(header)}")
for name, frame in (("original", polars_table), ("compressed", by_polars)):
    print(row(name, frame.width, f"{frame.estimated_size('mb'):.2f}"))
