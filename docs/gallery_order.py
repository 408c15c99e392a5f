"""The order of the examples in the gallery."""

from pathlib import Path


class DemoFirst:
    """Sort key: the demo, then the other examples by the length of their files."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def __call__(self, name):
        return name != "plot_compress_embeddings.py", (self.folder / name).stat().st_size
