"""Every file of ours: backbones, task banks, the state of a run, the folder of a run."""
