"""Records into the worker: batch consumers, Faust's consumer, group membership."""
