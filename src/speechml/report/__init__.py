"""What people read of runs: tables, comparisons, pages, figures."""
