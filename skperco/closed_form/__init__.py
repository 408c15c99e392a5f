"""Initializations in closed form: truncated SVD, ridge regression and multidimensional scaling."""
