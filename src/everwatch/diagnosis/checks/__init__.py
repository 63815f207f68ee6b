"""The checks of ``everwatch doctor``, one file a subject."""
