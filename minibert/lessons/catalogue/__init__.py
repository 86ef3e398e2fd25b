"""The exercises of the course by topic: for each, inputs, hints and known mistakes. exercises.py lists them all."""
