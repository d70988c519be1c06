"""What seglab costs beside its peers; `python -m benchmarks` runs all comparisons and writes a report."""
