"""One run: from its config through training and scores to its record, and what is done with a record. Torch only where it computes."""
