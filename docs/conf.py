"""Sphinx's settings for the site. `python -m course_lib course site` builds it, from a copy of this folder."""

from html import escape
from importlib.resources import files

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

project = "Symbolic music generation with deep learning"
html_title = "Music generation, a course in notebooks"
language = "en"
exclude_patterns = ["served", "static"]

extensions = ["myst_nb"]
nb_execution_mode = "off"
nb_render_markdown_format = "myst"  # else a notebook's own tables would be lines of bars
nb_ipywidgets_js = {}  # a page of the site has no kernel for widgets to talk to
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]

suppress_warnings = ["misc.highlighting_failure"]  # a cell with `!` is no Python

html_theme = "sphinx_book_theme"
html_theme_options = {
    "footer_content_items": [],  # it names an author
    "navbar_persistent": [],  # a second search box
    "show_toc_level": 1,
    "use_download_button": False,
}
html_context = {"default_mode": "auto"}  # light or dark as the reader's system is
html_show_copyright = False
html_copy_source = False
html_favicon = "static/favicon.svg"
html_css_files = ["site.css"]
html_js_files = [("diagrams.js", {"defer": "defer"})]
html_extra_path = ["served"]

# Every script comes from the site itself, these two out of packages that carry them.
html_static_path = [
    "static",
    str(files("mermaidx") / "assets" / "mermaid.js"),
    str(files("sphinx-mathjax-offline") / "static" / "mathjax" / "tex-svg.js"),
]
mathjax_path = "tex-svg.js"


class Mermaid(SphinxDirective):
    """A diagram, which `static/diagrams.js` draws in the browser."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        text = escape("\n".join(self.content))
        return [nodes.raw("", f'<pre class="mermaid">{text}</pre>', format="html")]


def setup(app: Sphinx) -> None:
    app.add_directive("mermaid", Mermaid)
