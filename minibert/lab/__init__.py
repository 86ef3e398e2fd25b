"""What stands on top of training: sweeps, the paper's tables and figures, ablation, plots, timings."""
