"""Results: their JSON, the frames that they travel in, and the rules for their texts. Both sides of the wire use it."""
