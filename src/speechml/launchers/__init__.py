"""What computes the runs of a sweep: processes of this machine, or jobs of a cluster."""
