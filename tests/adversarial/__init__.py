"""Adversarial reading: every reader is given thousands of mutated files, and what it makes of each is judged.

    python -m tests.adversarial --files 20000            all formats; prints a table of counts
    python -m tests.adversarial --one csv 1234           rebuilds one file and shows what becomes of it

case.py        a mutated file, and how one reading of it is judged: right, clear, unclear, wrong, memory
workers.py     processes that read many files each; one that crashes or hangs is counted and replaced
mutations.py   changes of bytes, texts and JSON values that know nothing of a format
formats.py     the table of formats; a new reader is added there
hdf5_files.py, checkpoints.py, bin_files.py, delimited_files.py, glue_files.py, json_files.py, archives.py
               one format or a few: valid files, mutations of their structure, and the oracle: what a reading of the
               mutated file by other means says that it holds
"""
