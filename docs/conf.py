"""Configuration of the documentation: `make docs` builds it."""

from importlib.metadata import version as installed_version

project = "skperco"
author = "The skperco developers"
copyright = author
version = release = installed_version("skperco")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

html_theme = "pydata_sphinx_theme"
html_title = project
html_theme_options = {"show_prev_next": False, "show_toc_level": 2}
html_sidebars = {"changelog": []}

autosummary_generate = True
autodoc_typehints = "none"
# The class template lists the members already.
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"plot_",
    "abort_on_example_error": True,
    "show_memory": False,
}


def skip_what_links_into_scikit_learn(app, what, name, obj, skip, options):
    """Leave out inherited methods whose docstrings link to pages that only scikit-learn has."""
    return skip or name in {"get_metadata_routing", "set_output"} or name.endswith("_request")


def setup(app):
    app.connect("autodoc-skip-member", skip_what_links_into_scikit_learn)
