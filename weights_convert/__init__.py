"""Other people's checkpoints to our HDF5 files, and back. See `python -m weights_convert --help`."""
