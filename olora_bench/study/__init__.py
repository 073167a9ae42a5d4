"""Grids, plan, resumable sweeps, and the command line over all of it. Imports no torch."""
