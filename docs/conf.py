"""Configuration of the documentation: `make docs` builds it."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "skperco"
author = "The skperco developers"
copyright = author
version = release = installed_version("skperco")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "matplotlib.sphinxext.plot_directive",
    "numpydoc",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

html_theme = "pydata_sphinx_theme"
html_title = project
html_logo = html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": project},
    "show_prev_next": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
}
# These pages have no others in their section, so the sidebar would be empty.
html_sidebars = {page: [] for page in ("index", "theory", "search", "genindex")}

plot_formats = [("png", 150)]
plot_html_show_formats = False
plot_html_show_source_link = False

autosummary_generate = True
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"
# The class template lists the members already.
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"plot_",
    "within_subsection_order": "gallery_order.DemoFirst",
    "default_thumb_file": str(Path(__file__).with_name("_static") / "logo.svg"),
    "abort_on_example_error": True,
    "show_memory": False,
}


def skip_what_links_into_scikit_learn(app, what, name, obj, skip, options):
    """Leave out inherited methods whose docstrings link to pages that only scikit-learn has."""
    return skip or name in {"get_metadata_routing", "set_output"} or name.endswith("_request")


def setup(app):
    app.connect("autodoc-skip-member", skip_what_links_into_scikit_learn)
