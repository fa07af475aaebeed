"""Measurements of this service beside its peers, in one run: ratios, medians, several repetitions."""
