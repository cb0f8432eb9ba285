"""Pure functions and modules on tensors: no files, no config, no training."""
