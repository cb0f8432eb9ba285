"""Many runs: grids and searches, and what computes them on this machine or a cluster."""
