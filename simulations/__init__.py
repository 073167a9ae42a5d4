"""Simulated studies that hold the verdict to what it promises. Results lie beside the code; docs/statistics.md shows them."""
