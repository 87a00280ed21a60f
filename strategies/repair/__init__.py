"""Repairs: from a float flatbuffer and data to a float flatbuffer (or ranges) that quantizes better."""
