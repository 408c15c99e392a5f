"""
Compress columns of a data frame
================================

Embeddings often come as columns of a table, beside other columns that should stay. With
scikit-learn's ``set_output``, :class:`~skperco.CoherenceDistiller` takes data frames of pandas or
polars and returns the same kind, with names for its columns; a ``ColumnTransformer`` lets it
compress some columns and hands on the others as they are.
"""

import numpy as np
import pandas as pd
import polars as pl
from sklearn.compose import ColumnTransformer

from skperco import CoherenceDistiller
from skperco.datasets import load_wordnet_glosses

# %%
# The table: words, their categories, and in 384 columns the embeddings of what WordNet says about
# the words. Two thousand rows and ten steps of the fit are few, and do for a quick example.

glosses = load_wordnet_glosses()
embedding = [f"embedding{place}" for place in range(glosses.data.shape[1])]
columns = {"word": glosses.names, "category": glosses.target_names[glosses.target]}
columns |= dict(zip(embedding, glosses.data.T, strict=True))
table = pd.DataFrame(columns).head(2000)
print(table.iloc[:4, :5].round(3).to_string())
print(f"\n{table.shape[0]:,} rows, {table.shape[1]} columns")

# %%
# Pandas in, pandas out. The new columns are named after the class and numbered, and the type of the
# embeddings stays.

distiller = CoherenceDistiller(n_components=8, max_iter=10, random_state=0)
distiller.set_output(transform="pandas").fit(table[embedding])
small = distiller.transform(table[embedding])
print(small.iloc[:4, :4].round(3).to_string())
print(f"\nnames: {', '.join(distiller.get_feature_names_out()[:3])}, ...")
print(f"type: {', '.join({str(dtype) for dtype in small.dtypes})}")

# %%
# The names that come in are remembered. A table with its columns in another order is refused, not
# misread.

try:
    distiller.transform(table[embedding[::-1]])
except ValueError as error:
    print(error)

# %%
# The whole table: a ``ColumnTransformer`` gives the embeddings to the student and passes the rest
# through, words included, which the student could not read. Its columns get a shorter name.


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
# Polars in, polars out, by the same lines.

polars_table = pl.DataFrame(columns).head(2000)
compress.set_output(transform="polars").fit(polars_table)
by_polars = compress.transform(polars_table)
print(by_polars[shown].head(4))

# %%
# Both are the same, up to rounding.

made = [f"small{place}" for place in range(8)]
difference = np.abs(by_polars[made].to_numpy() - by_pandas[made].to_numpy()).max()
print(f"largest difference: {difference:.0e}")

# %%
# What it saves: the size of the tables in memory, words and categories included.

row = "{:<12} {:>8} {:>8}".format
header = row("", "columns", "MB")
print(f"{header}\n{'-' * len(header)}")
for name, frame in (("as it came", polars_table), ("compressed", by_polars)):
    print(row(name, frame.width, f"{frame.estimated_size('mb'):.2f}"))
