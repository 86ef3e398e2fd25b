"""What stands on top of training: sweeps and their ledger, the paper's tables and figures, ablation."""
