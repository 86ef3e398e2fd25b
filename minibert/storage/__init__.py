"""Every file of ours; import from here.

backbone.py     a pre-trained BERT and its tokenizer (HDF5)
tokenizer.py    the tokenizer in it: what BERT's consists of, as JSON
bank.py         what tasks trained (HDF5)
bank_edit.py    tasks added to a bank, copied, renamed, removed
state.py        an interrupted run (HDF5)
hdf5.py         what these three share: format, version, contents that are verified
image.py        how HDF5 lays out a file in memory before it is written
run_folder.py   the folder that a run leaves, with result.json and history.csv
atomic.py       how a file is replaced: whole or not at all
checksum.py     the SHA-256 of a file
locks.py        how one program keeps the others from a bank or a run folder
stand_ins.py    what lies in place of a file that was not really downloaded
"""

from minibert.scratch import FULL, temporary_folder
from minibert.storage.atomic import cannot_be_written, write_rows, write_text
from minibert.storage.backbone import BackboneFile, read_backbone, write_backbone
from minibert.storage.bank import (
    TOKENS,
    TaskRecord,
    check_backbone,
    choose,
    config_difference,
    find_task,
    read_bank,
    write_bank,
)
from minibert.storage.bank_edit import add_task, check_new_name, copy_task, extract_tasks, remove_tasks, rename_task
from minibert.storage.checksum import sha256_of
from minibert.storage.hdf5 import fingerprint
from minibert.storage.run_folder import RunFolder, bank_file
from minibert.storage.stand_ins import stand_in
from minibert.storage.state import read_state, write_state
from minibert.storage.tokenizer import bert_tokenizer

__all__ = [
    "FULL",
    "TOKENS",
    "BackboneFile",
    "RunFolder",
    "TaskRecord",
    "add_task",
    "bank_file",
    "bert_tokenizer",
    "cannot_be_written",
    "check_backbone",
    "check_new_name",
    "choose",
    "config_difference",
    "copy_task",
    "extract_tasks",
    "find_task",
    "fingerprint",
    "read_backbone",
    "read_bank",
    "read_state",
    "remove_tasks",
    "rename_task",
    "sha256_of",
    "stand_in",
    "temporary_folder",
    "write_backbone",
    "write_bank",
    "write_rows",
    "write_state",
    "write_text",
]
