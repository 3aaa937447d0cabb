"""Recorded benchmarks: tables in which every candidate of a space has been trained already."""
