"""What a result is: its record, its JSON, the frame it travels in, and what may stand in it. Both sides of the wire."""
