"""The one voice: every sentence, title and number that a reader sees is worded here, from typed values. Layouts only arrange."""
