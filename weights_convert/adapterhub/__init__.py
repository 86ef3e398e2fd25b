"""Adapters to the AdapterHub library (`adapters`, Poth et al., 2023) and from it, as folders that it loads and saves.

settings.py   its adapter_config.json, and ours
heads.py      its head_config.json, and ours
names.py      what it calls the files, the tensors, and the task
writing.py    `export`, with the README.md that readme.py writes
reading.py    `import_`

What one side cannot hold is refused by its name, both ways. Nothing of the maths is here, and nothing of the library.
"""

from weights_convert.adapterhub.reading import import_
from weights_convert.adapterhub.writing import export

__all__ = ["export", "import_"]
