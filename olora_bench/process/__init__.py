"""The process and the machine that it runs on: devices, memory, signals, what it prints, what it records of itself. Imports no torch."""
