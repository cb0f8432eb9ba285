"""What is made of finished runs: comparisons, pages to look at, the table of reproduced figures."""
