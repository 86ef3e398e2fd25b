"""Settings of the site: `make docs` builds it from docs/, notebooks/ and two pages of kernels/ into build/site.

The source folder is the project's, so that a link from one file to another is the same here and in a repository's
viewer. Nothing is executed, and nothing is fetched: MathJax is copied from the package sphinx-mathjax-offline.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ["MINIBERT_KERNELS"] = "numpy"  # the reference shows the formulas, and nothing is compiled

project = "minibert"
author = "the authors of minibert"
root_doc = "docs/index"
include_patterns = ["docs/**.md", "notebooks/*.ipynb", "kernels/README.md", "kernels/engine/README.md"]
exclude_patterns = ["**/.*", ".*", "build", "models", "runs", "results", "tests", "notebooks/src"]
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "site_parts"]

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
myst_update_mathjax = False  # set below
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # no scripts from the network
nb_merge_streams = True

math_eqref_format = "({number})"
mathjax_path = "mathjax/startup.js"  # copied by site_parts
mathjax3_config = {
    "loader": {"load": ["input/tex", "output/chtml", "a11y/assistive-mml"]},
    "options": {"processHtmlClass": "tex2jax_process|mathjax_process|math|output_area"},
    "chtml": {"displayAlign": "left", "displayIndent": "1em"},
}

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80
nitpicky = True
nitpick_ignore_regex = [  # types that signatures name, and that the site does not describe
    ("py:.*", r"(np|numpy|pathlib|os|collections)\..*"),
    ("py:.*", r"minibert\.(text\.(Tokenizer|Features)|storage\.bank\.TaskRecord)"),
]

smartquotes = False
html_theme = "furo"
html_title = "minibert"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sourcelink = False
html_show_sphinx = False
html_copy_source = False
